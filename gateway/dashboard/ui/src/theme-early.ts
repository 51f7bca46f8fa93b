// Loaded before anything is drawn, so that a chosen theme never flashes the other one.

const chosen = localStorage.getItem("gateway.theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset["theme"] = chosen;
const density = localStorage.getItem("gateway.density");
if (density) document.documentElement.dataset["density"] = density;

export {};
