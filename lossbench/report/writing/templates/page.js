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

  // Tables: a click or Enter on a header sorts; empty cells stay last.
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
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  document.querySelectorAll("table").forEach((table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, column));
    });
  });
  document.querySelectorAll("[data-filter]").forEach((input) => {
    const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row) => { row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word)); });
    });
  });

  // The section being read is marked in the navigation.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const link = links.get(entry.target.id);
    if (!link || !entry.isIntersecting) return;
    links.forEach((each) => { each.classList.toggle("here", each === link); each.removeAttribute("aria-current"); });
    link.setAttribute("aria-current", "true");
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
    const views = data.maps.map((map) => view(box.querySelector(".maps"), map, data, state, color));
    const redraw = () => views.forEach((each) => each.draw());
    // The last stop of the slider is the chosen epoch with every sample; the others are epochs 0, 1, 2, ...
    slider.max = epochs + 1;
    slider.value = epochs + 1;
    slider.closest("label").hidden = epochs < 1;
    const show = () => {
      const value = Number(slider.value);
      state.epoch = value > epochs ? null : value;
      output.textContent = state.epoch === null ? "chosen" : state.epoch === 0 ? "0 (untrained)" : String(state.epoch);
      slider.setAttribute("aria-valuetext", output.textContent);
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
      button.textContent = label;
      button.style.borderColor = color(label);
      button.setAttribute("aria-pressed", "false");
      button.title = data.names[data.classes.indexOf(label)];
      button.setAttribute("aria-label", "class " + button.title);
      button.addEventListener("click", () => {
        state.only = state.only === label ? null : label;
        buttons.forEach((each, i) => each.setAttribute("aria-pressed", String(data.classes[i] === state.only)));
        redraw();
      });
      return button;
    });
    box.querySelector(".classes").append(...buttons);
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
      if (state.epoch === null) return { points: space.points(), labels: map.labels, centers: space.centers() };
      const epoch = Math.min(state.epoch, space.epochs.length - 1), centers = space.epochCenters[epoch];
      if (epoch < 0) return { points: [], labels: [], centers: [] };
      return { points: space.epochs[epoch](), labels: map.followed, centers: centers ? centers() : [] };
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
      const epoch = state.epoch === null ? "epoch " + map.chosen + " (chosen)" : "epoch " + Math.min(state.epoch, Math.max(space.epochs.length - 1, 0)) + ", " + points.length + " samples";
      small.textContent = space.note + ", " + epoch;
      canvas.setAttribute("aria-label", "Embedding map of " + map.recipe + ": " + small.textContent);
    };
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect(), { points, labels } = current();
      let near = null, least = 12;
      points.forEach(([x, y], i) => {
        const distance = Math.hypot(x * box.width + box.left - event.clientX, y * box.height + box.top - event.clientY);
        if (distance < least) { least = distance; near = i; }
      });
      if (near === null) hide(); else show("class " + data.names[data.classes.indexOf(labels[near])], event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", hide);
    return { draw };
  };

  const stored = JSON.parse(document.getElementById("map-data").textContent);
  document.querySelectorAll("[data-atlas]").forEach((box) => {
    const data = stored[box.dataset.atlas];
    if (data) atlas(box, data);
  });
})();
