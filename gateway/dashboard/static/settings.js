import{k as t,n as o,p as i,q as r}from"./chunk-RJPBZYWM.js";function e(){return t(r,{title:o.nav.settings,children:t(i,{})})}export{e as default};
