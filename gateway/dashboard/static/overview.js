import{k as o,n as r,p as e,q as t}from"./chunk-RJPBZYWM.js";function i(){return o(t,{title:r.nav.overview,children:o(e,{})})}export{i as default};
