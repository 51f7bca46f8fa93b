import{k as o,p as l,q as t}from"./chunk-RJPBZYWM.js";function a(){return o(t,{title:"Calls",children:o(l,{})})}export{a as default};
