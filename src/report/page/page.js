// Hover detail, links that open what they point to, light and dark. Everything can be read without.
(function () {
  "use strict";
  var tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.appendChild(tip);
  function show(element, x, y) {
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    var box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 18) + "px";
  }
  function hide() { tip.hidden = true; }
  document.querySelectorAll(".hit").forEach(function (hit) {
    var title = hit.querySelector("title");
    if (!title) return;
    hit.dataset.tip = title.textContent;
    if (hit.hasAttribute("tabindex")) hit.setAttribute("aria-label", title.textContent);
    title.remove();
  });
  document.querySelectorAll("main [title]").forEach(function (element) {
    element.dataset.tip = element.title;
    element.removeAttribute("title");
    if (!element.hasAttribute("aria-label") && element.matches("a")) element.setAttribute("aria-label", element.dataset.tip);
  });
  document.addEventListener("pointermove", function (event) {
    var at = event.target.closest && event.target.closest("[data-tip]");
    if (at) show(at, event.clientX, event.clientY); else hide();
  });
  document.addEventListener("focusin", function (event) {
    var at = event.target.closest("[data-tip]");
    if (!at) return hide();
    var box = at.getBoundingClientRect();
    show(at, box.left + box.width / 2, box.top + box.height / 2);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") hide(); });
  function open() {
    var id = location.hash.slice(1);
    var target = id && document.getElementById(id);
    if (target && target.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
      var summary = target.querySelector("summary");
      if (summary) summary.focus({preventScroll: true});
    }
  }
  addEventListener("hashchange", open);
  // On paper nothing can be opened: what got worse, and how it was decided, is printed whole.
  var unfolded = [];
  addEventListener("beforeprint", function () {
    unfolded = Array.prototype.filter.call(document.querySelectorAll("details.fine, details.worse"), function (one) { return !one.open; });
    unfolded.forEach(function (one) { one.open = true; });
  });
  addEventListener("afterprint", function () { unfolded.forEach(function (one) { one.open = false; }); });
  open();
  var theme = document.getElementById("theme");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", function () {
      var root = document.documentElement;
      var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    });
  }
})();
