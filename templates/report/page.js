"use strict";
// The page reads without this: it adds sorting, searching, arrow keys, copying and ages.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, more = {}) => Object.assign(document.createElement(tag), more);

  // --- sorting ---------------------------------------------------------------------------
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  const compare = (one, other) => {
    const numbers = [Number(one), Number(other)];
    return one && other && numbers.every(Number.isFinite) ? numbers[0] - numbers[1] : collator.compare(one, other);
  };
  const sort = (table, column, direction) => {
    const rows = [...table.tBodies[0].rows];
    const sign = direction === "descending" ? -1 : 1;
    const keyed = rows.map((row, place) => ({ row, place, key: valueOf(row, column) }));
    // Empty cells stay at the end, whichever way; equal ones keep their order.
    keyed.sort((a, b) => (a.key === "") - (b.key === "") || sign * compare(a.key, b.key) || a.place - b.place);
    table.tBodies[0].append(...keyed.map((item) => item.row));
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  };
  for (const [number, table] of all("table.sortable").entries()) {
    const heads = [...table.tHead.rows[0].cells];
    const select = make("select", { id: `sort-${number}` });
    select.append(make("option", { value: "", textContent: "as listed" }));
    heads.forEach((head, column) => {
      const name = head.textContent.trim();
      const button = make("button", { type: "button", textContent: name });
      button.addEventListener("click", () => {
        const is = head.getAttribute("aria-sort");
        sort(table, column, is === "ascending" ? "descending" : "ascending");
      });
      head.replaceChildren(button, make("span", { className: "plain", textContent: name }));
      for (const direction of ["ascending", "descending"]) {
        const arrow = direction === "ascending" ? "↑" : "↓";
        select.append(make("option", { value: `${column} ${direction}`, textContent: `${name} ${arrow}` }));
      }
    });
    select.addEventListener("change", () => {
      const [column, direction] = select.value.split(" ");
      if (direction) sort(table, Number(column), direction);
    });
    const box = make("div", { className: "sort-by" });
    box.append(make("label", { htmlFor: select.id, textContent: "Sort by" }), select);
    table.before(box);
  }

  // --- searching -------------------------------------------------------------------------
  const box = document.querySelector(".search");
  const input = document.getElementById("search");
  const found = document.getElementById("found");
  const places = [...all("table.searched tbody tr"), ...all(".searched-one")];
  const texts = new Map(places.map((place) => [place, place.textContent.toLowerCase().replace(/\s+/g, " ")]));
  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let environments = 0;
    for (const place of places) {
      place.hidden = !words.every((word) => texts.get(place).includes(word));
      if (!place.hidden && place.closest("#environments")) environments += 1;
    }
    const noun = environments === 1 ? "environment" : "environments";
    found.value = words.length ? `${environments || "no"} ${noun}` : "";
  };
  box.hidden = false;
  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && input.value) {
      event.preventDefault();
      input.value = "";
      search();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
    }
  });
  search(); // browsers keep what was typed when a page is read again

  // --- the matrix ------------------------------------------------------------------------
  const heat = document.querySelector(".heat");
  const told = document.getElementById("cell");
  const cells = all("td[data-told]", heat);
  const hint = cells.length ? "Point at a cell, or step through them with the arrow keys." : "";
  const tell = (cell) => { told.textContent = cell ? cell.dataset.told : hint; };
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const next = (cell, [down, right]) => {
    const rows = [...heat.tBodies[0].rows];
    let row = rows.indexOf(cell.parentElement);
    let column = cell.cellIndex;
    for (;;) {
      row += down;
      column += right;
      const at = rows[row]?.cells[column];
      if (!at || column < 1) return null;
      if (at.dataset.told) return at;
    }
  };
  const ours = cells.filter((cell) => cell.classList.contains("ours"));
  const start = ours[0] ?? cells[0];
  if (start) start.tabIndex = 0;
  const newest = ours.reduce((last, cell) => (cell.cellIndex > (last?.cellIndex ?? 1) ? cell : last), null);
  if (newest) heat.parentElement.scrollLeft = newest.offsetLeft - heat.parentElement.clientWidth / 2;
  for (const cell of cells) {
    if (cell !== start) cell.tabIndex = -1;
    cell.addEventListener("mouseenter", () => tell(cell));
    cell.addEventListener("click", () => cell.focus());
    cell.addEventListener("focus", () => {
      for (const other of cells) other.tabIndex = other === cell ? 0 : -1;
      tell(cell);
    });
    cell.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      next(cell, step)?.focus();
    });
  }
  heat.addEventListener("mouseleave", () => tell(cells.includes(document.activeElement) ? document.activeElement : null));
  tell(null);

  // --- the treemap: what does not fit is shortened, or left out -----------------------------
  const fit = () => {
    for (const tile of all(".tile")) {
      const { width, height } = tile.querySelector(".ground").getBoundingClientRect();
      for (const text of all("text", tile)) {
        text.dataset.full ??= text.textContent;
        const full = text.dataset.full;
        text.textContent = full;
        text.style.display = Number(text.getAttribute("y")) + 6 > height || width < 40 ? "none" : "";
        const room = width - 16;
        const length = text.getComputedTextLength();
        if (length > room && text.style.display === "") {
          const keep = Math.floor((full.length * room) / length) - 1;
          text.textContent = keep < 3 ? "" : `${full.slice(0, keep)}…`;
        }
      }
    }
  };
  fit();
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(fit);
  });

  // --- copying ---------------------------------------------------------------------------
  const clipboard = navigator.clipboard;
  for (const code of clipboard ? all("code[data-copy]") : []) {
    const text = code.textContent;
    const button = make("button", { type: "button", className: "copy", textContent: "copy" });
    button.setAttribute("aria-label", `copy ${text}`);
    button.addEventListener("click", async () => {
      try {
        await clipboard.writeText(text);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code); // not allowed here: it can be copied by hand
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
    code.after(button);
  }

  // --- ages ------------------------------------------------------------------------------
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const units = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  for (const time of all("time[datetime]")) {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    if (!Number.isFinite(seconds)) continue;
    const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) ?? ["minute", 60];
    time.title = time.dateTime;
    time.textContent = relative.format(Math.round(seconds / size), unit);
  }
})();
