"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // Light and dark: the reader's setting until the button says otherwise.
  const theme = document.getElementById("theme");
  const redraws = [];
  const redrawAll = () => redraws.forEach((redraw) => redraw());
  try {
    const kept = localStorage.getItem("lossbench-theme");
    if (kept) root.dataset.theme = kept;
  } catch { /* storage may be closed to local files */ }
  theme.addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme.includes("dark");
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("lossbench-theme", root.dataset.theme); } catch { /* as above */ }
    redrawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);

  // One task at a time: all that belongs to another one is out of sight, on paper everything is there.
  const switches = [...document.querySelectorAll(".switch input")];
  const choose = (task) => {
    switches.forEach((input) => { input.checked = input.value === task; });
    document.querySelectorAll("[data-task]").forEach((box) => box.classList.toggle("off", switches.length > 0 && box.dataset.task !== task));
  };
  switches.forEach((input) => input.addEventListener("change", () => choose(input.value)));
  if (switches.length) choose(switches[0].value);

  // What folds away opens for print, and where the address leads into it.
  const folded = [...document.querySelectorAll("main details")];
  let closed = [];
  addEventListener("beforeprint", () => { closed = folded.filter((each) => !each.open && !each.classList.contains("long")); closed.forEach((each) => { each.open = true; }); });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const box = target.closest("[data-task]");
    let moved = box !== null && box.classList.contains("off");
    if (moved) choose(box.dataset.task);
    for (let each = target.closest("details"); each; each = each.parentElement.closest("details")) {
      moved ||= !each.open;
      each.open = true;
    }
    if (moved) target.scrollIntoView({ behavior: "instant" });
  };
  addEventListener("hashchange", follow);
  // A second click on a link to where the address is already.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) { event.preventDefault(); follow(); }
  });

  // Tables: a click or Enter on a header sorts, a second one turns it round, a third restores the order; empty cells stay last.
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.key ?? cell.textContent.trim();
    const number = Number(text.replace("\u2212", "-"));
    return text === "" || text === "\u2013" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  const sort = (table, column) => {
    const heads = [...table.tHead.rows[0].cells];
    const head = heads[column];
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const now = head.getAttribute("aria-sort");
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    if (now === other) return table.tBodies[0].append(...table.original);
    const order = now === first ? other : first;
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  document.querySelectorAll("table").forEach((table) => {
    table.original = [...table.tBodies[0].rows];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      const label = button.querySelector("[data-term]");
      if (label) { button.dataset.term = label.dataset.term; button.setAttribute("aria-describedby", label.dataset.term + "-text"); }
      button.addEventListener("click", () => sort(table, column));
    });
  });
  document.querySelectorAll("[data-filter]").forEach((input) => {
    const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
    const none = document.createElement("span");
    none.setAttribute("role", "status");
    input.after(none);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row) => { row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word)); });
      none.textContent = rows.every((row) => row.hidden) ? " No row matches." : "";
    });
  });

  // A table that is larger than its place says so.
  const widths = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const wide = target.scrollWidth > target.clientWidth + 1, high = target.scrollHeight > target.clientHeight + 1;
    const hint = target.nextElementSibling;
    if (!hint?.classList.contains("more-right")) return;
    const [sideways, both, down] = hint.children;
    hint.hidden = !wide && !high;
    sideways.hidden = !wide;
    both.hidden = !wide || !high;
    down.hidden = !high;
  }));
  document.querySelectorAll(".scroll").forEach((box) => widths.observe(box));

  // The section being read is marked in the navigation, which moves along with it.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const link = links.get(entry.target.id);
    if (!link || !entry.isIntersecting) return;
    links.forEach((each) => { each.classList.toggle("here", each === link); each.removeAttribute("aria-current"); });
    link.setAttribute("aria-current", "true");
    const bar = link.parentElement;
    bar.scrollTo({ left: link.offsetLeft - bar.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2, behavior: "smooth" });
  }), { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));

  // Values under the pointer.
  const tip = document.getElementById("tip");
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 8 : y + 18) + "px";
  };
  const hide = () => { tip.hidden = true; };
  document.querySelectorAll("svg title").forEach((title) => {
    const group = title.parentNode, text = title.textContent;
    title.remove();
    group.addEventListener("pointermove", (event) => show(text, event.clientX, event.clientY));
    group.addEventListener("pointerleave", hide);
  });

  // What a word means, under the pointer and under the keyboard's focus.
  const meaning = (id) => document.getElementById(id + "-text").textContent;
  document.querySelectorAll("a[data-term], th [data-term]").forEach((word) => {
    word.addEventListener("pointermove", (event) => show(meaning(word.dataset.term), event.clientX, event.clientY));
    word.addEventListener("pointerleave", hide);
    word.addEventListener("focus", () => {
      if (!word.matches(":focus-visible")) return;
      const { left, bottom } = word.getBoundingClientRect();
      show(meaning(word.dataset.term), left, bottom - 12);
    });
    word.addEventListener("blur", hide);
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // Embedding maps.
  const decode = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 4 }, (_, i) => [view.getUint16(4 * i, true) / 65535, 1 - view.getUint16(4 * i + 2, true) / 65535]);
  };
  const lazily = (make) => { let made; return () => (made ??= make()); };

  const atlas = (box, data) => {
    const slider = box.querySelector("[data-epoch]"), output = box.querySelector("output");
    const state = { epoch: null, space: "raw", only: null };
    const color = (label) => data.colors[data.classes.indexOf(label) % data.colors.length];
    const epochs = Math.max(...data.maps.map((map) => map.spaces.raw.epochs.length)) - 1;
    const place = box.querySelector(".maps"), legend = box.querySelector(".classes");
    const views = data.maps.map((map) => view(place, map, data, state, color));
    const redraw = () => views.forEach((each) => each.draw());
    place.append(legend);
    // The last stop of the slider is the chosen epoch with every sample; the others are epochs 0, 1, 2, ...
    slider.max = epochs + 1;
    slider.value = epochs + 1;
    slider.closest("label").hidden = epochs < 1;
    const show = () => {
      const value = Number(slider.value);
      state.epoch = value > epochs ? null : value;
      output.textContent = state.epoch === null ? "chosen" : state.epoch === 0 ? "0 (untrained)" : String(data.epochs[state.epoch] ?? state.epoch);
      slider.setAttribute("aria-valuetext", state.epoch === null ? "the chosen epoch" : "epoch " + output.textContent);
      redraw();
    };
    // Play goes through the epochs from the first and stops at the chosen one; moving the slider stops it too.
    const play = box.querySelector("[data-play]");
    let clock = null;
    const stop = () => { clearInterval(clock); clock = null; play.textContent = "Play"; play.setAttribute("aria-pressed", "false"); };
    const step = () => { slider.value = Number(slider.value) + 1; show(); if (Number(slider.value) > epochs) stop(); };
    play.hidden = epochs < 1;
    play.addEventListener("click", () => {
      if (clock !== null) return stop();
      if (Number(slider.value) > epochs) { slider.value = 0; show(); }
      play.textContent = "Pause";
      play.setAttribute("aria-pressed", "true");
      clock = setInterval(step, Math.max(150, Math.min(700, 6000 / (epochs + 1))));
    });
    slider.addEventListener("input", () => { stop(); show(); });
    box.querySelectorAll("[type=radio]").forEach((radio) => radio.addEventListener("change", () => { state.space = radio.value; redraw(); }));
    const buttons = data.classes.map((label) => {
      const button = document.createElement("button");
      button.type = "button";
      const mark = document.createElement("b"), name = data.names[data.classes.indexOf(label)];
      mark.textContent = label;
      mark.style.borderColor = color(label);
      button.append(mark, name === String(label) ? "" : " " + data.short[data.classes.indexOf(label)]);
      button.setAttribute("aria-pressed", "false");
      button.title = name;
      button.setAttribute("aria-label", "class " + name);
      button.addEventListener("click", () => {
        state.only = state.only === label ? null : label;
        buttons.forEach((each, i) => each.setAttribute("aria-pressed", String(data.classes[i] === state.only)));
        redraw();
      });
      return button;
    });
    legend.append(...buttons);
    redraws.push(redraw);
    new ResizeObserver(redraw).observe(box);
  };

  const view = (place, map, data, state, color) => {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const small = document.createElement("small"), canvas = document.createElement("canvas");
    caption.append(map.recipe, small);
    canvas.setAttribute("role", "img");
    figure.append(caption, canvas);
    place.append(figure);
    const spaces = Object.fromEntries(Object.entries(map.spaces).map(([name, space]) => [name, {
      note: space.note,
      points: lazily(() => decode(space.points)),
      centers: lazily(() => decode(space.centers)),
      epochs: space.epochs.map((text) => lazily(() => decode(text))),
      epochCenters: space.epochCenters.map((text) => lazily(() => decode(text))),
    }]));
    const current = () => {
      const space = spaces[state.space];
      if (state.epoch === null) return { points: space.points(), labels: map.labels, ids: map.ids, centers: space.centers() };
      const epoch = Math.min(state.epoch, space.epochs.length - 1), centers = space.epochCenters[epoch];
      if (epoch < 0) return { points: [], labels: [], ids: [], centers: [] };
      return { points: space.epochs[epoch](), labels: map.followed, ids: map.followedIds, centers: centers ? centers() : [] };
    };
    const draw = () => {
      const width = canvas.clientWidth, ratio = devicePixelRatio || 1;
      if (!width) return;
      canvas.width = canvas.height = Math.round(width * ratio);
      const pen = canvas.getContext("2d"), css = getComputedStyle(root);
      const ink = css.getPropertyValue("--ink"), card = css.getPropertyValue("--card");
      const { points, labels, centers } = current();
      pen.scale(ratio, ratio);
      const radius = Math.max(1.8, width / 110);
      const order = points.map((_, i) => i).sort((a, b) => (labels[a] === state.only) - (labels[b] === state.only));
      for (const i of order) {
        const dim = state.only !== null && labels[i] !== state.only;
        pen.globalAlpha = dim ? 0.12 : 0.72;
        pen.fillStyle = color(labels[i]);
        pen.beginPath();
        pen.arc(points[i][0] * width, points[i][1] * width, radius, 0, 7);
        pen.fill();
      }
      pen.font = "600 " + Math.max(9, width / 24) + "px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.lineWidth = 1.6;
      centers.forEach(([x, y], i) => {
        const label = data.classes[i];
        pen.globalAlpha = state.only !== null && label !== state.only ? 0.15 : 0.92;
        pen.fillStyle = card;
        pen.strokeStyle = color(label);
        pen.beginPath();
        const high = Math.max(15, width / 14), wide = Math.max(high, pen.measureText(label).width + 8);
        pen.roundRect(x * width - wide / 2, y * width - high / 2, wide, high, high / 2);
        pen.fill();
        pen.stroke();
        pen.fillStyle = ink;
        pen.fillText(label, x * width, y * width + 0.5);
      });
      pen.globalAlpha = 1;
      const space = spaces[state.space];
      const epoch = state.epoch === null ? "epoch " + map.chosen : "epoch " + (data.epochs[Math.min(state.epoch, Math.max(space.epochs.length - 1, 0))] ?? 0) + ", " + points.length + " samples";
      small.textContent = space.note + ", " + epoch;
      canvas.setAttribute("aria-label", "Embedding map of " + map.recipe + ": " + small.textContent);
    };
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect(), { points, labels, ids } = current();
      let near = null, least = 12;
      points.forEach(([x, y], i) => {
        const distance = Math.hypot(x * box.width + box.left - event.clientX, y * box.height + box.top - event.clientY);
        if (distance < least) { least = distance; near = i; }
      });
      if (near === null) hide(); else show("test sample " + ids[near] + ", class " + data.names[data.classes.indexOf(labels[near])], event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", hide);
    return { draw };
  };

  const stored = JSON.parse(document.getElementById("map-data").textContent);
  document.querySelectorAll("[data-atlas]").forEach((box) => {
    const data = stored[box.dataset.atlas];
    if (data) atlas(box, data);
  });
  if (location.hash) follow();
})();
