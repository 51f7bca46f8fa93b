import{k as t,p as o,q as r}from"./chunk-RJPBZYWM.js";function e(){return t(r,{title:"Upstreams",children:t(o,{})})}export{e as default};
