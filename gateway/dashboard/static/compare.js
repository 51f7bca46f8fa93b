import{k as o,p as r,q as e}from"./chunk-RJPBZYWM.js";function t(){return o(e,{title:"Compare",children:o(r,{})})}export{t as default};
