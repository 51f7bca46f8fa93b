import{k as o,n as t,p as r,q as e}from"./chunk-RJPBZYWM.js";function f(){return o(e,{title:t.nav.keys,children:o(r,{})})}export{f as default};
