// The order form. What it sends is decided by the rows of `order_types.js`.

import { Field, sayProblem, valuesOf } from "./fields.js";
import { OutcomeUnknown, Refused } from "./calls.js";
import { announce, byId, element, write } from "./elements.js";
import { combinedFault, total } from "./validation.js";
import { fieldsOf, offeredTypes } from "./order_types.js";

export class OrderForm {
  #fields = [];
  #market = null;
  #isBusy = false;

  /** `fault()` says why nobody may trade here, "" if they may; `onPlaced(answer)` what came of it. */
  constructor(calls, fault, onPlaced) {
    this.calls = calls;
    this.fault = fault;
    this.onPlaced = onPlaced;
    this.form = byId("order-form");
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.form.oninput = () => this.#refresh();
    byId("type").onchange = () => this.#build();
  }

  show(market) {
    this.#market = market;
    const choices = offeredTypes(market).map(({ name, title }) => element("option", { value: name }, title));
    const chosen = byId("type").value;
    byId("type").replaceChildren(...choices);
    if (choices.some(({ value }) => value === chosen)) byId("type").value = chosen;
    this.#build();
  }

  /** Choose a side and go where an order begins. */
  begin(side) {
    this.form.elements.side.value = side;
    this.#refresh();
    this.#fields[0].input.focus();
  }

  /** Take a price from the ladder. */
  setPrice(price) {
    const field = this.#fields.find(({ row }) => row.kind === "price");
    if (!field) return;
    field.input.value = price;
    field.check();
    this.#refresh();
    field.input.focus();
  }

  get #type() {
    return offeredTypes(this.#market).find(({ name }) => name === byId("type").value);
  }

  #build() {
    const kept = valuesOf(this.#fields);
    this.#fields = fieldsOf(this.#type, this.#market).map((row) => new Field(row, this.#market, "order"));
    const [extra, plain] = [true, false].map((is) => this.#fields.filter(({ row }) => Boolean(row.extra) === is));
    byId("fields").replaceChildren(...plain.map((field) => field.element));
    byId("extra-fields").replaceChildren(...extra.map((field) => field.element));
    byId("more").hidden = extra.length === 0;
    for (const { row, input } of this.#fields) {
      if (typeof kept[row.name] === "string" && row.kind !== "time") input.value = kept[row.name];
    }
    this.#fault("");
    this.#refresh();
  }

  #refresh() {
    const values = valuesOf(this.#fields);
    for (const { row, element: shown } of this.#fields) {
      if (row.shown) shown.hidden = !row.shown(values);
    }
    const side = this.form.elements.side.value;
    const verb = side === "buy" ? "Buy" : "Sell";
    write(byId("place"), `${verb} ${this.#market.base}`);
    byId("place").dataset.side = side;
    const sum = total(values.price, values.quantity);
    write(byId("total"), sum && `Total ${sum} ${this.#market.quote}`);
  }

  #fault(text) {
    write(byId("order-fault"), text);
    byId("again").hidden = true;
  }

  async #submit() {
    if (this.#isBusy) return;
    this.#fault(this.fault());
    if (this.fault()) return;
    const wrong = this.#fields.filter((field) => !field.check());
    const values = valuesOf(this.#fields);
    const combined = wrong.length ? null : combinedFault(this.#type, values, this.#market);
    if (combined) {
      const field = this.#fields.find(({ row }) => row.name === combined[0]);
      field.say(combined[1]);
      wrong.push(field);
    }
    if (wrong.length) {
      if (wrong[0].row.extra) byId("more").open = true;
      wrong[0].input.focus();
      return;
    }
    const common = { market: this.#market.market, side: this.form.elements.side.value };
    const { path, body } = this.#type.request({ ...common, ...values });
    await this.#send(() => this.calls.write("POST", path, body));
  }

  async #send(call) {
    this.#isBusy = true;
    byId("place").setAttribute("aria-disabled", "true");
    try {
      this.#placed(await call());
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isBusy = false;
      byId("place").removeAttribute("aria-disabled");
    }
  }

  #placed(answer) {
    const orders = answer.orders ?? [answer.order];
    const told = orders.map(({ order_id: id, status }) => `Order ${id} ${status.replace("_", " ")}`);
    const count = answer.trades.length;
    if (count > 0) told.push(count === 1 ? "1 trade" : `${count} trades`);
    announce(told.join(", "));
    this.#fault("");
    this.onPlaced(answer);
  }

  #failed(error) {
    if (error instanceof Refused) {
      if (!sayProblem(this.#fields, error.problem)) this.#fault(error.problem.detail);
      return;
    }
    this.#fault(error instanceof OutcomeUnknown ? `Outcome unknown: ${error.message}.` : `Not placed: ${error.message}.`);
    byId("again").hidden = !(error instanceof OutcomeUnknown);
    byId("again").onclick = () => this.#send(error.again);
  }
}
