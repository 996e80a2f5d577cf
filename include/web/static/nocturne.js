// The larger pictures of model health, from the data that the page brings along. Nothing is asked of any server.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const $ = id => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const LEAST = 1e-3; // evidence below this is drawn as this

  // --- small helpers ---

  function svg(tag, attributes, parent, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  // What a variable of the style sheet is by now, as a colour that a canvas takes.
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }

  function shown(value, digits = 3) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace("e+", "e");
    return String(+value.toPrecision(digits));
  }
  const percent = value => (value === null || value === undefined ? "–" : `${shown(100 * value)} %`);
  const words = name => name.replaceAll("_", " ");

  const seconds = days => days.map(day => Date.parse(`${day}T00:00:00Z`) / 1000);
  const day = stamp => new Date(stamp * 1000).toISOString().slice(0, 10);

  // A table behind a picture, made when somebody opens it.
  const tables = {};
  for (const details of document.querySelectorAll("details[data-table]")) {
    details.addEventListener("toggle", () => {
      const told = tables[details.dataset.table];
      if (!details.open || !told) return;
      const [head, rows] = told();
      const table = document.createElement("table");
      table.className = "rows";
      const row = (cells, tag, parent) => {
        const line = document.createElement("tr");
        for (const [n, cell] of cells.entries()) {
          const made = document.createElement(tag);
          made.textContent = typeof cell === "number" || cell === null ? shown(cell, 4) : cell;
          if (n) made.className = "n";
          line.append(made);
        }
        parent.append(line);
      };
      const top = table.createTHead();
      row(head, "th", top);
      const body = table.createTBody();
      for (const one of rows) row(one, "td", body);
      const place = details.querySelector("div");
      place.tabIndex = 0;
      place.replaceChildren(table);
    });
  }
  function behind(id, told) {
    tables[id] = told;
    const details = document.querySelector(`details[data-table="${id}"]`);
    if (details && details.open) details.dispatchEvent(new Event("toggle"));
  }

  // --- lines over time ---

  const pictures = new Map(); // id: how to draw it, and what uPlot has drawn

  function draw(id) {
    const one = pictures.get(id), place = $(id);
    if (!one || !place) return;
    if (one.plot) one.plot.destroy();
    place.replaceChildren();
    one.plot = one.make(place, Math.max(200, place.clientWidth));
  }
  function picture(id, make) {
    pictures.set(id, {make, plot: null});
    draw(id);
  }

  // Lines along days. `lines`: {label, values, colour, dash, width, points, band}; `marks`: horizontal lines and zones.
  function lines(id, days, of, {log = false, height = 190, zones = [], format = shown, range} = {}) {
    picture(id, (place, width) => {
      const x = seconds(days);
      const axis = {
        stroke: colour("muted"), grid: {stroke: colour("line"), width: 1}, ticks: {stroke: colour("line"), width: 1, size: 4},
        font: "11.5px Inter, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif",
      };
      const short = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", timeZone: "UTC"});
      const long = new Intl.DateTimeFormat("en-GB", {month: "short", year: "numeric", timeZone: "UTC"});
      const whole = x.length > 1 ? (x[x.length - 1] - x[0]) / 86400 : 1;
      const options = {
        width, height,
        tzDate: stamp => uPlot.tzDate(new Date(stamp * 1e3), "Etc/UTC"),
        padding: [8, 24, 0, 0],
        cursor: {drag: {x: false, y: false}, points: {size: 6}, y: false},
        scales: {
          x: {time: true, ...(x.length === 1 ? {range: [x[0] - 86400, x[0] + 86400]} : {})},
          y: log ? {distr: 3, log: 10, ...(range ? {range} : {})} : range ? {range} : {},
        },
        axes: [
          {...axis, size: 30, space: 70, incrs: [1, 2, 7, 14, 30, 61, 91, 182, 365].map(n => n * 86400),
            values: (plot, stamps) => stamps.map(one => (whole > 400 ? long : short).format(one * 1000))},
          {...axis, size: 54, values: (plot, ticks) => ticks.map(one => (one === null ? "" : format(one))),
            ...(log ? {space: 24, filter: whole_powers, grid: {...axis.grid, filter: whole_powers}, ticks: {...axis.ticks, filter: whole_powers}} : {space: 32})},
        ],
        legend: {live: true, markers: {width: 2}},
        series: [
          {label: "night", value: (plot, stamp) => (stamp === null ? "" : day(stamp))},
          ...of.map(line => ({
            label: line.label, stroke: colour(line.colour), width: line.width ?? 2, dash: line.dash,
            points: {show: line.points ?? x.length < 3, size: line.points ? 4 : 6, fill: colour(line.colour)},
            paths: line.points ? () => null : undefined, spanGaps: line.spanGaps ?? false,
            value: (plot, value) => format(value),
          })),
        ],
        bands: of.flatMap((line, n) => (line.band ? [{series: [n + 1, n + 2], fill: colour(line.band)}] : [])),
        hooks: {
          drawClear: [plot => {
            const {ctx, bbox} = plot;
            ctx.save();
            ctx.beginPath();
            ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
            ctx.clip();
            for (const zone of zones) {
              const [top, bottom] = [zone.high, zone.low].map(value => plot.valToPos(value, "y", true));
              ctx.globalAlpha = 0.16;
              ctx.fillStyle = colour(zone.colour);
              ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
            }
            ctx.restore();
          }],
          draw: [plot => {
            const {ctx, bbox} = plot;
            ctx.save();
            ctx.strokeStyle = ctx.fillStyle = colour("muted");
            ctx.font = `${11 * devicePixelRatio}px sans-serif`;
            ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
            for (const {version, night} of page.versions.slice(1)) {
              const at = plot.valToPos(Date.parse(`${night}T00:00:00Z`) / 1000, "x", true);
              if (at < bbox.left || at > bbox.left + bbox.width) continue;
              ctx.beginPath();
              ctx.moveTo(at, bbox.top);
              ctx.lineTo(at, bbox.top + bbox.height);
              ctx.stroke();
              ctx.fillText(`v${version}`, at + 3 * devicePixelRatio, bbox.top + 11 * devicePixelRatio);
            }
            ctx.restore();
          }],
        },
      };
      const plot = new uPlot(options, [x, ...of.map(line => line.values)], place);
      of.forEach((line, n) => {
        if (line.quiet) plot.root.querySelectorAll(".u-legend .u-series")[n + 1].style.display = "none";
      });
      return plot;
    });
    const told = of.filter(line => !line.quiet);
    behind(id, () => [["night", ...told.map(line => line.label)], days.map((one, n) => [one, ...told.map(line => line.values[n])]).reverse()]);
  }

  function whole_powers(plot, ticks) {
    const powers = ticks.map(one => Math.log10(one)), whole = power => Math.abs(power - Math.round(power)) < 1e-9;
    const every = Math.ceil(powers.filter(whole).length / (plot.height / 28));
    return ticks.map((one, n) => (whole(powers[n]) && Math.round(powers[n]) % every === 0 ? one : null));
  }
  const flat = (value, n) => Array(n).fill(value);
  const least = values => values.map(value => (value === null ? null : Math.max(value, LEAST)));
  // A scale of evidence reaches from what is quiet to well above what fires.
  const reach = (limit, ...all) => {
    const most = Math.max(limit, ...all.flat().filter(value => value !== null));
    return [LEAST, 10 ** Math.ceil(Math.log10(most * 2))];
  };

  function evidence() {
    const {nights, lines: of, threshold} = page.evidence;
    const drawn = of.map((line, n) => ({
      label: line.name, values: least(line.values), colour: ["c1", "c2", "c3"][n], dash: [[], [8, 4], [2, 3]][n],
    }));
    if (threshold !== null) drawn.push({label: "fires", values: flat(threshold, nights.length), colour: "limit", dash: [6, 4], width: 1.5, points: false});
    lines("evidence", nights, drawn, {log: true, height: 220, range: reach(threshold ?? 1, ...of.map(line => line.values))});
  }

  // --- a feature ---

  function feature(name) {
    const one = page.features.find(each => each.name === name);
    if (!one) return;
    const limit = page.evidence && page.evidence.threshold !== null && one.weight ? page.evidence.threshold / one.weight : null;
    const of = [{label: "evidence", values: least(one.evidence), colour: "c1"}];
    if (limit) of.push({label: "fires alone", values: flat(limit, page.feature_nights.length), colour: "limit", dash: [6, 4], width: 1.5, points: false});
    if (one.psi.some(value => value !== null)) of.push({label: "PSI of the day", values: one.psi.map(value => (value === null ? null : Math.max(value, LEAST))), colour: "c3", dash: [2, 3], width: 1.5});
    lines("feature-evidence", page.feature_nights, of, {log: true, height: 200, range: reach(limit ?? 1, one.evidence)});
    const told = one.distribution;
    $("feature-said").textContent = [
      one.importance === null ? "" : `It carries ${percent(one.importance)} of what the model makes of its features.`,
      one.value === null ? "" : `Its evidence is ${shown(one.value)}${limit ? `; by itself it fires at ${shown(limit)}` : ""}.`,
      told ? `On ${told.of} ${percent(told.day[told.day.length - 1])} of ${told.rows.toLocaleString("en")} values were missing.` : "",
    ].join(" ");
    picture("feature-distribution", (place, width) => {
      if (told) distribution(place, width, told);
      else place.append(Object.assign(document.createElement("p"), {className: "empty", textContent: "Its distribution is not stored in these nights."}));
      return null;
    });
    if (told) behind("feature-distribution", () => [
      ["values", "training", "newest week", "newest day"],
      names(told).map((of, n) => [of, percent(told.expected[n]), percent(told.week[n]), percent(told.day[n])]),
    ]);
  }

  // What the bins of a distribution are called.
  function names({edges, levels, day}) {
    if (levels.length) return [...levels, "missing"];
    if (!edges.length) return day.map((_, n) => (n === day.length - 1 ? "missing" : "all"));
    const inner = edges.slice(1).map((edge, n) => `${shown(edges[n])} to ${shown(edge)}`);
    return [`up to ${shown(edges[0])}`, ...inner, `above ${shown(edges[edges.length - 1])}`, "missing"];
  }

  function distribution(place, width, told) {
    const kinds = [["training", "expected", "then"], ["newest week", "week", "c1"], ["newest day", "day", "c2"]];
    $("feature-legend").replaceChildren(...kinds.map(([label, , ink]) => {
      const item = document.createElement("span");
      item.innerHTML = `<i class="box" style="background: var(--${ink})"></i>`;
      item.append(label);
      return item;
    }));
    const called = names(told), few = called.length <= 14;
    const height = 200, left = 40, bottom = few && called.length > 4 ? 66 : 34, top = 8;
    const most = Math.max(0.05, ...kinds.flatMap(([, of]) => told[of]));
    const root = svg("svg", {viewBox: `0 0 ${width} ${height + (few ? 20 : 0)}`, height: height + (few ? 20 : 0), "aria-hidden": "true"}, place);
    const full = height + (few ? 20 : 0), y = share => full - bottom - (full - bottom - top) * share / most;
    for (let n = 0; n <= 4; n++) {
      const share = most * n / 4;
      svg("line", {class: "grid", x1: left, x2: width, y1: y(share), y2: y(share)}, root);
      svg("text", {x: left - 6, y: y(share) + 4, "text-anchor": "end"}, root, `${shown(100 * share, 2)}%`);
    }
    const step = (width - left) / called.length, bar = Math.max(1, step * 0.8 / kinds.length);
    called.forEach((label, n) => {
      kinds.forEach(([kind, of, ink], k) => {
        const share = told[of][n] ?? 0;
        const made = svg("rect", {
          x: left + n * step + step * 0.1 + k * bar, y: y(share), width: Math.max(1, bar - 0.5),
          height: Math.max(0, full - bottom - y(share)), fill: `var(--${ink})`,
        }, root);
        svg("title", {}, made, `${label}: ${percent(share)} ${kind}`);
      });
      const every = Math.ceil(called.length / 14);
      if (n % every === 0 || n === called.length - 1) {
        const x = left + (n + 0.5) * step, at = full - bottom + 13;
        const shortened = label.length > 14 ? `${label.slice(0, 13)}…` : label;
        if (called.length > 4) svg("text", {x, y: at, "text-anchor": "end", transform: `rotate(-38 ${x} ${at})`}, root, shortened);
        else svg("text", {x, y: at + 3, "text-anchor": "middle"}, root, shortened);
      }
    });
    svg("line", {class: "axis", x1: left, x2: width, y1: full - bottom, y2: full - bottom}, root);
  }

  // --- drift against importance ---

  function quadrants() {
    const limit = page.evidence && page.evidence.threshold !== null ? page.evidence.threshold : null;
    const of = page.features.filter(one => one.importance !== null && one.value !== null);
    picture("quadrants", (place, width) => {
      if (!of.length) {
        place.append(Object.assign(document.createElement("p"), {className: "empty", textContent: "There is no night with both: evidence needs a champion of this release, importance its figures."}));
        return null;
      }
      const narrow = width < 560, height = narrow ? 420 : 440, left = 52, right = 16, top = 22, bottom = 42;
      const most = Math.max(...of.map(one => one.importance)), equal = 1 / of.length;
      const [low, high] = reach(limit ?? 1, of.map(one => one.value)).map(Math.log10);
      const floor = Math.min(0, Math.max(low, Math.floor(Math.log10(Math.max(LEAST, Math.min(...of.map(one => one.value))))))) || -1;
      const x = share => left + (width - left - right) * Math.sqrt(Math.max(0, share) / (most * 1.06));
      const y = value => height - bottom - (height - top - bottom) * (Math.max(floor, Math.log10(Math.max(value, LEAST))) - floor) / (high - floor);
      const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, height}, place);
      if (limit) {
        svg("rect", {class: "zone", x: x(equal), y: top, width: width - right - x(equal), height: y(limit) - top}, root);
        svg("line", {class: "limit", x1: left, x2: width - right, y1: y(limit), y2: y(limit)}, root);
      }
      for (let power = floor; power <= high; power++) {
        svg("line", {class: "grid", x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power)}, root);
        svg("text", {x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end"}, root, shown(10 ** power));
      }
      for (const share of [0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7].filter(one => one <= most * 1.06))
        svg("text", {x: x(share), y: height - bottom + 16, "text-anchor": "middle"}, root, percent(share));
      svg("line", {class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}, root);
      svg("line", {class: "axis", x1: left, x2: left, y1: top, y2: height - bottom}, root);
      svg("line", {class: "axis", x1: x(equal), x2: x(equal), y1: top, y2: height - bottom, "stroke-dasharray": "2 3"}, root);
      svg("text", {x: width - right, y: height - 8, "text-anchor": "end"}, root, "importance: share of the gain →");
      svg("text", {x: 4, y: 12}, root, "↑ evidence of drift");
      const zone = svg("text", {class: "hot", x: width - right - 4, y: top + 15, "text-anchor": "end"}, root, narrow ? "important, and drifting" : "the model leans on it, and it is not as it was");
      const corners = [[left + 4, top + 15, "start", narrow ? "" : "drifting, of little use"], [width - right - 4, height - bottom - 8, "end", "important, quiet"]];
      for (const [at, up, anchor, said] of corners) svg("text", {x: at, y: up, "text-anchor": anchor}, root, said);
      // Names stand where there is room, those of the worst first; each dot has its own when it is pointed at.
      const taken = [zone, ...root.querySelectorAll("text")].map(one => one.getBBox());
      const free = box => !taken.some(one => box.x < one.x + one.width + 2 && one.x < box.x + box.width + 2 && box.y < one.y + one.height && one.y < box.y + box.height) &&
        box.x >= left && box.x + box.width <= width - 2 && box.y >= top && box.y + box.height <= height - bottom;
      const order = [...of].sort((a, b) => (b.part ?? 0) - (a.part ?? 0) || b.importance - a.importance);
      for (const one of of) taken.push({x: x(one.importance) - 4, y: y(one.value) - 4, width: 8, height: 8});
      for (const one of [...order].reverse()) {
        const at = [x(one.importance), y(one.value)], hot = limit !== null && one.value >= limit;
        const link = svg("a", {href: "#h-feature", "aria-label": `${one.name}: importance ${percent(one.importance)}, evidence ${shown(one.value)}`}, root);
        svg("circle", {class: `dot${hot ? " hot" : ""}`, cx: at[0], cy: at[1], r: hot ? 6.5 : 5}, link);
        svg("title", {}, link, `${one.name}\nimportance ${percent(one.importance)}, evidence ${shown(one.value)}`);
        link.addEventListener("click", () => choose(one.name));
      }
      for (const one of order) {
        const at = [x(one.importance), y(one.value)], hot = limit !== null && one.value >= limit;
        const name = svg("text", {class: `name${hot ? " hot" : ""}`, x: 0, y: 0, "pointer-events": "none"}, root, one.name);
        const {width: wide} = name.getBBox();
        const places = [[9, 4], [-9 - wide, 4], [-wide / 2, -10], [-wide / 2, 19], [9, -9], [9, 17], [-9 - wide, -9], [-9 - wide, 17]];
        for (const far of [28, 44, 60, 78, 96]) for (const dx of [-wide / 2, 12, -12 - wide]) for (const side of [-1, 1]) places.push([dx, side * far + 4]);
        const found = places.find(([dx, dy]) => free({x: at[0] + dx, y: at[1] + dy - 11, width: wide, height: 14}));
        if (!found) {
          name.remove();
          continue;
        }
        if (Math.abs(found[1] - 4) > 20) {
          const towards = found[1] < 0 ? found[1] + 3 : found[1] - 11, middle = at[0] + found[0] + wide / 2;
          const x2 = Math.max(at[0] + found[0], Math.min(at[0] + found[0] + wide, found[0] === -wide / 2 ? middle : at[0]));
          root.insertBefore(svg("line", {class: "leader", x1: at[0], y1: at[1], x2, y2: at[1] + towards}), root.firstChild);
        }
        name.setAttribute("x", at[0] + found[0]);
        name.setAttribute("y", at[1] + found[1]);
        taken.push({x: at[0] + found[0], y: at[1] + found[1] - 11, width: wide, height: 14});
      }
      return null;
    });
    behind("quadrants", () => [
      ["feature", "importance", "evidence", "part of the sensor's", "corner"],
      of.map(one => [one.name, percent(one.importance), one.value, one.part,
        (limit !== null && one.value >= limit ? "drifting" : "quiet") + (one.importance >= 1 / of.length ? ", important" : "")]),
    ]);
  }

  // --- quality, calibration, data, cost ---

  function quality() {
    page.quality.forEach((one, n) => {
      const of = [
        {label: "high", values: one.high, colour: "c1", width: 0, band: "quality-band", points: false, quiet: true},
        {label: "low", values: one.low, colour: "c1", width: 0, points: false, quiet: true},
        {label: "day", values: one.values, colour: "muted", points: true, width: 1},
        {label: "week", values: one.mean, colour: "c1"},
        {label: "promised", values: flat(one.promise, one.days.length), colour: "c3", dash: [2, 3], width: 1.5, points: false},
        ...one.limits.map(limit => ({label: "limit", values: flat(limit, one.days.length), colour: "limit", dash: [6, 4], width: 1.5, points: false})),
      ];
      lines(`quality-${n}`, one.days, of, {zones: [{low: one.promise_low, high: one.promise_high, colour: "c3"}]});
    });
  }

  function calibration() {
    const one = page.calibration[0];
    if (!one || !$("calibration")) return;
    picture("calibration", (place, width) => {
      const size = Math.min(width, 420), height = Math.min(size, 340), left = 44, bottom = 34, top = 8, right = 10;
      const all = one.points.flatMap(point => [point.score, point.label, ...(one.is_share ? [point.low, point.high] : [])]);
      const [low, high] = one.is_share ? [0, 1] : [Math.min(...all), Math.max(...all)];
      const x = value => left + (size - left - right) * (value - low) / ((high - low) || 1);
      const y = value => height - bottom - (height - top - bottom) * (value - low) / ((high - low) || 1);
      const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true"}, place);
      for (let n = 0; n <= 5; n++) {
        const value = low + (high - low) * n / 5, said = one.is_share ? `${Math.round(100 * value)}%` : shown(value);
        svg("line", {class: "grid", x1: left, x2: size - right, y1: y(value), y2: y(value)}, root);
        svg("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, root, said);
        svg("text", {x: x(value), y: height - bottom + 15, "text-anchor": "middle"}, root, said);
      }
      svg("line", {x1: x(low), y1: y(low), x2: x(high), y2: y(high), stroke: "var(--c3)", "stroke-width": 1.5, "stroke-dasharray": "2 3"}, root);
      svg("polyline", {points: one.points.map(point => `${x(point.score)},${y(point.label)}`).join(" "), fill: "none", stroke: "var(--c1)", "stroke-width": 2}, root);
      for (const point of one.points) {
        if (one.is_share) svg("line", {x1: x(point.score), x2: x(point.score), y1: y(point.low), y2: y(point.high), stroke: "var(--c1)", "stroke-width": 1.5}, root);
        const dot = svg("circle", {cx: x(point.score), cy: y(point.label), r: 4, fill: "var(--c1)"}, root);
        svg("title", {}, dot, `predicted ${shown(point.score)}, came ${shown(point.label)}, ${point.n.toLocaleString("en")} rows`);
      }
      svg("text", {x: size - right, y: height - 4, "text-anchor": "end"}, root, "predicted →");
      svg("text", {x: left + 4, y: top + 10}, root, "↑ came true");
      return null;
    });
    behind("calibration", () => [
      ["predicted", "came", "at least", "at most", "rows"],
      one.points.map(point => [shown(point.score), point.label, point.low ?? null, point.high ?? null, point.n]),
    ]);
  }

  function data() {
    const {nights, lines: of} = page.data;
    if (!nights.length) return;
    const line = (key, label, colour, dash, times = 1) => of[key] && {label, colour, dash, values: of[key].map(value => (value === null ? null : times * value))};
    const shares = [line("completeness scored", "scored", "c1", [], 100), line("completeness labelled", "labelled", "c2", [8, 4], 100), line("missing", "missing values", "c3", [2, 3], 100)];
    lines("data-shares", nights, shares.filter(Boolean), {height: 150, range: [0, 105], format: value => (value === null ? "–" : shown(value))});
    const ages = [line("freshness features", "features", "c1"), line("freshness predictions", "predictions", "c2", [8, 4]), line("freshness labels", "labels", "c3", [2, 3])];
    lines("data-ages", nights, ages.filter(Boolean), {height: 150});
  }

  function cost() {
    if (!page.cost || !$("cost")) return;
    const {times, rate, seconds: took} = page.cost;
    picture("cost", (place, width) => {
      const height = 120, left = 54, bottom = 20, most = Math.max(...rate, 1);
      const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true"}, place);
      const step = Math.min(28, (width - left) / rate.length), y = value => height - bottom - (height - bottom - 8) * value / most;
      for (const value of [0, most / 2, most]) {
        svg("line", {class: "grid", x1: left, x2: width, y1: y(value), y2: y(value)}, root);
        svg("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, root, Math.round(value).toLocaleString("en"));
      }
      rate.forEach((value, n) => {
        const bar = svg("rect", {x: left + n * step + 1, y: y(value), width: Math.max(1, step - 2), height: Math.max(0, height - bottom - y(value)), fill: "var(--c1)"}, root);
        svg("title", {}, bar, `${times[n]}: ${Math.round(value).toLocaleString("en")} rows a second, ${shown(took[n])} s`);
      });
      svg("text", {x: left, y: height - 5}, root, `rows a second, by scoring, the newest on the right`);
      return null;
    });
    behind("cost", () => [["ended, UTC", "rows a second", "seconds"], times.map((at, n) => [at, Math.round(rate[n]), took[n]]).reverse()]);
  }

  // --- the whole ---

  function choose(name) {
    $("feature").value = name;
    feature(name);
  }

  if ($("feature")) {
    $("feature").addEventListener("change", event => feature(event.target.value));
    for (const button of document.querySelectorAll("button[data-feature]")) button.addEventListener("click", () => {
      choose(button.dataset.feature);
      $("h-feature").scrollIntoView({block: "start"});
      $("feature").focus({preventScroll: true});
    });
    quadrants();
    feature(page.features[0].name);
  }
  if ($("evidence")) evidence();
  quality();
  calibration();
  data();
  cost();

  function everything() {
    for (const id of pictures.keys()) draw(id);
  }
  let width = document.documentElement.clientWidth, waiting;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(everything, 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", everything);
  addEventListener("storage", event => {
    if (event.key !== "theme") return;
    const theme = event.newValue;
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    everything();
  });
})();
