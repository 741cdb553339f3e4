// In a list: choose all on the page, and how many are chosen.
"use strict";

const every = document.getElementById("every");
const boxes = [...document.querySelectorAll('#chosen input[name="id"]')];

function tell() {
  const count = boxes.filter((box) => box.checked).length;
  document.getElementById("how-many").textContent = count ? `${count} chosen` : "";
  every.checked = count === boxes.length;
  every.indeterminate = count > 0 && count < boxes.length;
}

if (every) {
  every.parentElement.hidden = false;
  every.addEventListener("change", () => {
    for (const box of boxes) box.checked = every.checked;
    tell();
  });
  for (const box of boxes) box.addEventListener("change", tell);
  tell();
}
