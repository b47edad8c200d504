// The key of whoever uses this page: asked for, shown to be there, forgotten.

import { SAID } from "./access.js";
import { byId, write } from "./elements.js";

const LISTENED_TO = " This page came without TLS: whoever listens on the way can read the key.";

export class KeyForm {
  /** `onChange()` is called when the page acts for somebody else from now on. */
  constructor(access, calls, onChange) {
    this.access = access;
    if (!window.isSecureContext) byId("key-note").append(LISTENED_TO);
    byId("key-form").onsubmit = async (event) => {
      event.preventDefault();
      const fault = await access.enter(byId("key").value, calls);
      this.#say(fault);
      if (fault) return byId("key").focus();
      byId("key").value = "";
      onChange();
      byId("order").focus();
    };
    byId("key").oninput = () => this.#say("");
    byId("forget").onclick = () => {
      access.forget();
      onChange();
      byId("key").focus();
    };
  }

  /** Show what the exchange asks for, and who is known. */
  show() {
    const { isRequired, holder, reason } = this.access;
    byId("account-form").hidden = isRequired;
    byId("key-form").hidden = !isRequired || holder !== null;
    byId("holder").hidden = holder === null;
    this.#say(reason);
    if (holder === null) return;
    write(byId("holder-account"), holder.account || "(a key that may not read)");
    write(byId("holder-scopes"), holder.scopes.join(", "));
  }

  /** Put the keyboard where a key, or an account, is entered. */
  focus() {
    const shown = ["key", "forget", "account"].map(byId).find((one) => !one.closest("[hidden]"));
    shown.focus();
  }

  #say(text) {
    write(byId("key-fault"), text);
    byId("key").setAttribute("aria-invalid", String(text !== ""));
  }
}

/** Why this page may not trade as it is; "" where it may. */
export function tradingFault(access) {
  if (access.may("trade")) return "";
  return access.holder ? "This key may not trade: that takes the scope trade." : SAID.toTrade;
}
