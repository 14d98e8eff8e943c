"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const selects = [...document.querySelectorAll("[data-choice]")];
  const groups = [...document.querySelectorAll("[data-group]")];
  const shown = document.getElementById("shown");
  const filter = () => {
    groups.forEach((group) => {
      group.hidden = !selects.every((select) => select.value === "" || group.dataset[select.dataset.choice] === select.value);
    });
    shown.textContent = groups.filter((group) => !group.hidden).length + " of " + groups.length + " groups shown";
  };
  selects.forEach((select) => select.addEventListener("change", filter));
  filter();
})();
