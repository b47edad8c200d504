// Candles of one interval. The chart is a picture: its last candle is also there as a sentence.

import { CandlestickSeries, HistogramSeries, createChart } from "./vendor/lightweight-charts.mjs";
import { byId, element, write } from "./elements.js";
import { placesOf } from "./decimals.js";

const INTERVALS = ["1m", "5m", "15m", "1h", "1d"];

export class Chart {
  /** `onInterval(name)` is called when another interval is chosen. */
  constructor(onInterval) {
    this.interval = INTERVALS[0];
    this.#buttons(onInterval);
    this.chart = createChart(byId("candles"), {
      autoSize: true,
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 3 },
      layout: { attributionLogo: false },
    });
    this.prices = this.chart.addSeries(CandlestickSeries);
    this.volumes = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.85, bottom: 0 } });
    this.#paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  show(market) {
    const precision = placesOf(market.tick_size);
    const minMove = Number(market.tick_size);
    this.prices.applyOptions({ priceFormat: { type: "price", precision, minMove } });
    this.prices.setData([]);
    this.volumes.setData([]);
  }

  take({ type, candles, interval }) {
    const bars = candles.map(barOf);
    const volumes = candles.map(volumeOf);
    if (type === "snapshot") {
      this.prices.setData(bars);
      this.volumes.setData(volumes);
    } else {
      bars.forEach((bar) => this.prices.update(bar));
      volumes.forEach((bar) => this.volumes.update(bar));
    }
    const last = candles.at(-1);
    if (last) {
      const { open, high, low, close, volume } = last;
      const text = `Last ${interval} candle: open ${open}, high ${high}, low ${low}, close ${close}, volume ${volume}.`;
      write(byId("chart-text"), text);
    }
  }

  #buttons(onInterval) {
    for (const name of INTERVALS) {
      const button = element("button", { type: "button", "aria-pressed": String(name === this.interval) }, name);
      button.onclick = () => {
        for (const other of byId("intervals").children) other.setAttribute("aria-pressed", String(other === button));
        this.interval = name;
        onInterval(name);
      };
      byId("intervals").append(button);
    }
  }

  /** Take the colours of the page, which follow the reader's scheme. */
  #paint() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [buy, sell, line] = [colour("--buy"), colour("--sell"), colour("--line")];
    this.chart.applyOptions({
      layout: { background: { color: colour("--panel") }, textColor: colour("--soft") },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      timeScale: { borderColor: line },
      rightPriceScale: { borderColor: line },
    });
    this.prices.applyOptions({
      upColor: buy, wickUpColor: buy, borderUpColor: buy,
      downColor: sell, wickDownColor: sell, borderDownColor: sell,
    });
    this.volumes.applyOptions({ color: line });
  }
}

// The chart is drawn in floats; no number goes back from it.
const secondsOf = (candle) => Date.parse(candle.time) / 1000;
const barOf = (candle) => ({
  time: secondsOf(candle),
  open: Number(candle.open),
  high: Number(candle.high),
  low: Number(candle.low),
  close: Number(candle.close),
});
const volumeOf = (candle) => ({ time: secondsOf(candle), value: Number(candle.volume) });
