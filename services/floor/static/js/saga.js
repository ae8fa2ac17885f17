import { h } from "./dom.js";
export class SagaView { constructor(){} open(id){ return [h("p",{},id)]; } close(){} update(){} tick(){} play(){} answer(){} }
