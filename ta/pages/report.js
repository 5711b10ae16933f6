"use strict";
const table = document.getElementById("class");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const rows = [...body.rows];
const words = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
const compare = new Intl.Collator(undefined, { numeric: true }).compare;

function sortBy(column) {
  const head = heads[column];
  const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const numeric = head.classList.contains("number");
  const keys = new Map(rows.map(row => [row, row.cells[column].textContent]));
  rows.sort((a, b) => {
    const [left, right] = [keys.get(a), keys.get(b)];
    if (left === "" || right === "") return (left === "") - (right === ""); // what is empty stands last
    return sign * (numeric ? left - right : compare(left, right));
  });
  body.append(...rows);
}

function filter() {
  const text = document.getElementById("filter").value.toLowerCase();
  const status = document.getElementById("status").value;
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.get(row).includes(text) || (status !== "" && row.dataset.status !== status);
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${rows.length} shown`;
}

function open() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  target.open = true;
  target.scrollIntoView();
}

heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sortBy(column)));
document.getElementById("filter").addEventListener("input", filter);
document.getElementById("status").addEventListener("change", filter);
addEventListener("hashchange", open);
filter();
open();
