// Two small things that HTML cannot do: new hits that appear by themselves, and copy buttons.
// Without this file every page works by reloading it.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  const text = document.getElementById(button.dataset.copy);
  if (!text || !navigator.clipboard) continue;
  const said = button.innerHTML;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent.trim());
      button.textContent = "✓ Copiato";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selezionato: Ctrl+C";
    }
    setTimeout(() => { button.innerHTML = said; }, 2500);
  });
}

const live = document.querySelector("[data-live]");
const rows = document.getElementById("hits");
if (live && rows && window.EventSource) follow(live, rows);

function follow(live, rows) {
  const ROWS_MAX = 500;
  const RETRY_MS = 10000;
  const sorted = live.dataset.sorted === "arrival";
  const state = live.querySelector("[data-live-state]");
  const dot = live.querySelector(".dot");
  const news = live.querySelector("[data-live-news]");
  const reload = live.querySelector("[data-live-reload]");
  const pause = live.querySelector("[data-live-pause]");
  const title = document.title;
  let url = live.dataset.live;
  let source = null;
  let waiting = [];
  let arrived = 0;
  let unseen = 0;
  let paused = false;
  let announcing = 0;

  function show(symbol, words) {
    dot.textContent = symbol;
    state.textContent = words;
  }

  // A burst is announced once: a screen reader would never come to its end otherwise.
  function announceSoon() {
    if (announcing === 0) announcing = setTimeout(announce, 500);
  }

  function announce() {
    clearTimeout(announcing);
    announcing = 0;
    if (arrived > 0) {
      const one = arrived === 1;
      let words = arrived + (one ? " nuovo riscontro" : " nuovi riscontri");
      if (paused && waiting.length > 0) words += ", " + waiting.length + " in attesa";
      news.textContent = words;
    }
    reload.hidden = sorted || arrived === 0;
    document.title = unseen > 0 ? "(" + unseen + ") " + title : title;
  }

  function place(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const row = holder.content.firstElementChild;
    if (!row || document.getElementById(row.id)) return;
    row.classList.add("new");
    rows.prepend(row);
    while (rows.rows.length > ROWS_MAX) rows.lastElementChild.remove();
    const empty = document.getElementById("empty");
    if (empty) empty.hidden = true;
  }

  function connect() {
    source = new EventSource(url);
    source.addEventListener("open", () => show("●", "in diretta · live"));
    source.addEventListener("hit", (event) => {
      url = url.replace(/([?&]after=)\d+/, "$1" + event.lastEventId);
      arrived += 1;
      if (document.hidden) unseen += 1;
      if (paused) waiting = waiting.slice(1 - ROWS_MAX).concat(event.data);
      else if (sorted) place(event.data);
      announceSoon();
    });
    source.addEventListener("changed", (event) => {
      const holder = document.createElement("template");
      holder.innerHTML = event.data;
      const row = holder.content.firstElementChild;
      const old = row && document.getElementById(row.id);
      if (old) {
        row.className = old.className;
        old.replaceWith(row);
      }
    });
    source.addEventListener("reload", () => {
      source.close();
      show("⚠", "troppi arrivi insieme");
      news.textContent = "Molti riscontri nuovi: ricarica la pagina.";
      reload.hidden = false;
    });
    source.addEventListener("signed-out", () => {
      source.close();
      show("✕", "sessione terminata · signed out");
      news.textContent = "Ricarica per accedere di nuovo.";
      reload.hidden = false;
    });
    source.addEventListener("error", () => {
      show("○", "collegamento interrotto, riprovo · reconnecting");
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
    });
  }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused && sorted) waiting.forEach(place);
    if (!paused) waiting = [];
    announce();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) unseen = 0;
    announce();
  });
  window.addEventListener("pagehide", () => source.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

  live.hidden = false;
  pause.hidden = !sorted;
  connect();
}
