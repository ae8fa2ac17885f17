import { h } from "./dom.js";
export class DeskView { constructor(){} open(id){ return [h("p",{},id)]; } update(){} }
