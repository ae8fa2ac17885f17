/**
 * What is at stake in a step, told from the books: money, dishes, or nothing that is counted.
 */

import { CURRENCY, amount, cents, isZero, shown } from "./money.js";
import { dishes } from "./labels.js";

/** @typedef {import("./shapes.js").Book} Book */
/** `whole`: what was moved; `left`: what is left of it now. @typedef {{whole: string, left: string, isZero: boolean}} Stake */

/** @param {string} key @param {Book | undefined} book @returns {Stake | null} */
export function stakeOf(key, book) {
  if (!book) return null;
  if (isPayment(key)) return money(book.gateway.taken, book.gateway.back);
  if (/:(PlaceOrder|CreateOrder)$/.test(key)) return money(book.order.owed, book.order.cancelled);
  if (/:Reserve(Dishes|Stock)$/.test(key)) {
    const left = book.stock.out - book.stock.back;
    return { whole: dishes(book.stock.out), left: dishes(left), isZero: left === 0 };
  }
  return null;
}

/** Whether the step is about the customer's money. @param {string} key */
export function isPayment(key) {
  return /:(RequestPayment|ChargeCard)$/.test(key);
}

/** How the money goes back: refunded if it was taken, else the payment is voided. @param {Book | undefined} book */
export function refundWords(book) {
  if (!book || isZero(book.gateway.taken)) return "Void the payment";
  return `Refund ${CURRENCY} ${shown(book.gateway.taken)}`;
}

/** @param {string} out @param {string} back @returns {Stake} */
function money(out, back) {
  const left = cents(out) - cents(back);
  return { whole: `${CURRENCY} ${shown(out)}`, left: `${CURRENCY} ${amount(left)}`, isZero: left === 0n };
}
