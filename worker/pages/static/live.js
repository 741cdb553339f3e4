// Asks for the figures every two seconds, writes them where they stand, and draws the last 15 minutes of them.
"use strict";

// Without the user and password that the page's own address may hold: fetch refuses an address with them.
const ADDRESS = new URL("/live.json", location.origin);
const EVERY_MS = 2000;
const KEPT_MS = 15 * 60 * 1000;
const STORE = "outbox-figures";
const WORDS = { up: "up", down: "DOWN", unknown: "not known" };

let points = [];
let before = null;

try {
  points = JSON.parse(sessionStorage.getItem(STORE) || "[]");
} catch {
  points = [];
}

async function look() {
  const lost = document.getElementById("lost");
  try {
    const answer = await fetch(ADDRESS, { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const told = await answer.json();
    write(told);
    keep(told);
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
  draw();
  setTimeout(look, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

function write(told) {
  for (const place of document.querySelectorAll("[data-text]")) {
    const text = told.texts[place.dataset.text];
    if (text !== undefined && place.textContent !== text) place.textContent = text; // a change is read out, sameness is not
  }
  for (const place of document.querySelectorAll("[data-server]")) {
    const state = told.servers[place.dataset.server];
    place.className = `server ${state}`;
    place.querySelector("[data-word]").textContent = WORDS[state];
  }
  document.querySelector("[data-gate]").className = `gate ${told.gate}`;
}

function keep(told) {
  const numbers = told.numbers;
  const [median, high] = latency(before, told.latency);
  before = told.latency;
  points.push({
    at: told.at,
    rate: [numbers.received_per_s, numbers.settled_per_s],
    backlog: [numbers.backlog, numbers.lag],
    latency: [median, high],
  });
  points = points.filter((point) => point.at > told.at - KEPT_MS);
  try {
    sessionStorage.setItem(STORE, JSON.stringify(points));
  } catch {
    // no room, or not allowed: then the charts begin anew with the page
  }
}

// Of what was settled between two answers: how long half of it, and 95 of 100, took at most.
function latency(old, now) {
  if (!old || !now || now.total <= old.total || old.bounds.length !== now.bounds.length) return [null, null];
  const counts = now.counts.map((count, index) => count - old.counts[index]);
  const total = now.total - old.total;
  return [0.5, 0.95].map((share) => {
    const index = counts.findIndex((count) => count >= share * total);
    return now.bounds[index < 0 ? now.bounds.length - 1 : index];
  });
}

function draw() {
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const key = chart.dataset.chart;
    const shown = points.flatMap((point) => point[key]).filter((value) => value !== null);
    const top = Math.max(...shown, key === "latency" ? 0.01 : 1);
    const end = points.length ? points[points.length - 1].at : 0;
    const begin = Math.min(points.length ? points[0].at : 0, end - 60000);
    chart.replaceChildren(...[0, 1].map((series) => line(key, series, begin, end, top)));
    const last = [0, 1].map((series) => {
      const known = points.map((point) => point[key][series]).filter((value) => value !== null);
      return known.length ? shorten(known[known.length - 1]) : "–";
    });
    last.forEach((text, series) => {
      document.querySelector(`[data-last="${key}-${series}"]`).textContent = text;
    });
    chart.setAttribute("aria-label", `${chart.parentElement.querySelector("figcaption").textContent}: now ${last.join(" and ")}, at most ${shorten(top)}`);
  }
}

function line(key, series, begin, end, top) {
  let path = "";
  let pen = "M";
  for (const point of points) {
    const value = point[key][series];
    if (value === null) {
      if (key !== "latency") pen = "M"; // nobody knew: a gap; a latency stands until the next is measured
      continue;
    }
    const x = ((point.at - begin) / Math.max(end - begin, 1)) * 300;
    path += `${pen}${x.toFixed(1)} ${(86 - (value / top) * 80).toFixed(1)}`;
    pen = "L";
  }
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawn.setAttribute("d", path);
  drawn.setAttribute("class", series ? "two" : "one");
  return drawn;
}

function shorten(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 3 : 0 });
}

look();
