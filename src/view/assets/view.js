// Calls that load when they are seen, keys, searches that are kept in this browser, and the live list.
(function () {
  "use strict";
  var calls = Array.prototype.slice.call(document.querySelectorAll("details.call"));
  function load(call) {
    var from = call.dataset.piece;
    if (!from) return;
    delete call.dataset.piece;
    fetch(from, {credentials: "same-origin"}).then(function (answer) {
      if (!answer.ok) throw new Error(answer.status);
      return answer.text();
    }).then(function (html) {
      var later = call.querySelector(".inside");
      // The server escapes what was recorded; this is its own markup.
      if (later) later.outerHTML = html;
    }).catch(function () { call.dataset.piece = from; });
  }
  function watch(call) { call.addEventListener("toggle", function () { if (call.open) load(call); }); }
  calls.forEach(watch);
  // A trace that goes on: its new calls are added, those that were open are shown again.
  var list = document.getElementById("calls");
  if (list && list.dataset.follow && window.EventSource) {
    var source = new EventSource(list.dataset.follow);
    var take = function (event) {
      var fresh = document.createElement("template");
      // The server escapes what was recorded; this is its own markup.
      fresh.innerHTML = event.data;
      Array.prototype.slice.call(fresh.content.querySelectorAll("details.call")).forEach(function (call) {
        var old = document.getElementById(call.id), place = calls.indexOf(old);
        if (old) { call.open = old.open; old.replaceWith(call); calls[place] = call; } else { list.append(call); calls.push(call); }
        watch(call);
        if (call.open) load(call);
      });
    };
    source.addEventListener("calls", take);
    source.addEventListener("over", function (event) {
      take(event);
      source.close();
      document.getElementById("following").textContent = "It has ended: load the page again for all that it came to.";
    });
  }
  function shown(hash) {
    var call = hash.length > 1 && document.getElementById(hash.slice(1));
    if (call && call.classList.contains("call")) { go(calls.indexOf(call), true); settle(call, 30); }
  }
  // What stands above may yet turn out longer or shorter than it was taken for.
  function settle(call, frames) {
    call.scrollIntoView({block: "start", behavior: "instant"});
    if (frames && calls[at] === call) requestAnimationFrame(function () { settle(call, frames - 1); });
  }
  var fold = document.getElementById("fold");
  if (fold) {
    fold.hidden = false;
    // Of many calls only those near the window are opened, the others as they come.
    var seen = new IntersectionObserver(function (all) {
      all.forEach(function (one) { if (one.isIntersecting && one.target.dataset.wanted) { delete one.target.dataset.wanted; one.target.open = true; } });
    }, {rootMargin: "600px"});
    fold.addEventListener("click", function (event) {
      var how = event.target.closest("[data-fold]");
      if (!how) return;
      calls.forEach(function (call) {
        if (how.dataset.fold === "close") { delete call.dataset.wanted; call.open = false; }
        else if (!call.open) { call.dataset.wanted = "1"; seen.unobserve(call); seen.observe(call); }
      });
    });
  }
  var at = -1;
  function go(to, open) {
    if (to < 0 || to >= calls.length) return;
    if (calls[at]) calls[at].classList.remove("at");
    at = to;
    calls[at].classList.add("at");
    if (open) calls[at].open = true;
    calls[at].querySelector("summary").focus({preventScroll: true});
    calls[at].scrollIntoView({block: open ? "start" : "nearest"});
  }
  if (calls.length) { shown(location.hash); addEventListener("hashchange", function () { shown(location.hash); }); }
  var rows = Array.prototype.slice.call(document.querySelectorAll("table.list a.open"));
  function step(by) {
    if (calls.length) return go(Math.max(0, at + by), false);
    var now = rows.indexOf(document.activeElement);
    var next = rows[Math.max(0, Math.min(rows.length - 1, now + by))];
    if (next) next.focus();
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,select,textarea")) return;
    var key = document.querySelector('[data-key="' + (/^[a-z0-9]$/.test(event.key) ? event.key : "none") + '"]');
    if (key) { event.preventDefault(); key.click(); }
    else if (event.key === "j") { step(1); }
    else if (event.key === "k") { step(-1); }
    else if (event.key === "o" && calls[at]) { calls[at].open = !calls[at].open; }
    else if (event.key === "x" && rows.indexOf(document.activeElement) >= 0) {
      var box = document.activeElement.closest("tr").querySelector("input[type=checkbox]");
      if (box) box.click();
    }
    else if (event.key === "/") {
      var search = document.getElementById("search");
      event.preventDefault();
      if (search) search.focus(); else location.href = "/traces";
    }
  });
  // Searches are kept in this browser only.
  var save = document.getElementById("save-filter"), links = document.getElementById("filters");
  function kept() { try { return JSON.parse(localStorage.getItem("holdback.filters")) || []; } catch (e) { return []; } }
  function keep(all) { try { localStorage.setItem("holdback.filters", JSON.stringify(all)); } catch (e) { /* not kept, then */ } draw(); }
  function draw() {
    links.textContent = "";
    kept().forEach(function (query, place) {
      var one = document.createElement("span"), link = document.createElement("a"), away = document.createElement("button");
      var words = [];
      new URLSearchParams(query).forEach(function (value, name) { if (value) words.push(name === "q" ? value : name + ": " + value); });
      link.href = "/traces?" + query;
      link.textContent = words.join(", ");
      away.type = "button";
      away.textContent = "×";
      away.setAttribute("aria-label", "Forget " + link.textContent);
      away.addEventListener("click", function () { var all = kept(); all.splice(place, 1); keep(all); });
      one.append(link, away);
      links.append(one);
    });
  }
  if (save && links) {
    save.hidden = false;
    draw();
    save.addEventListener("click", function () {
      var asked = new URLSearchParams();
      new FormData(save.form).forEach(function (value, name) { if (value) asked.set(name, value); });
      var query = asked.toString(), all = kept();
      if (query && all.indexOf(query) < 0) keep(all.concat(query).slice(-20));
    });
  }
  // Parts that take their time come after the page.
  Array.prototype.slice.call(document.querySelectorAll("[data-fetch]")).forEach(function (part) {
    fetch(part.dataset.fetch, {credentials: "same-origin"}).then(function (answer) {
      if (!answer.ok) throw new Error(answer.status);
      return answer.text();
    }).then(function (html) { part.innerHTML = html; part.removeAttribute("aria-busy"); }).catch(function () { part.removeAttribute("aria-busy"); });
  });
  var live = document.getElementById("live");
  if (live && window.EventSource) {
    new EventSource(live.dataset.events).onmessage = function (event) { live.innerHTML = event.data; };
  }
})();
