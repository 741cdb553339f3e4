// All that is too pale on the page: texts under 4.5 to 1 (3 to 1 if large), lines that tell where a field, a chart's line or a
// mark is under 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11). Gives a line for each, and at least one that says how many were looked at.
const found = [];
let looked = 0;

function channels(color) {
  const parts = color.match(/[\d.]+/g).map(Number);
  return [parts[0], parts[1], parts[2], parts.length > 3 ? parts[3] : 1];
}

function over(upper, lower) {
  const share = upper[3];
  return [0, 1, 2].map((index) => upper[index] * share + lower[index] * (1 - share)).concat(1);
}

function ground(element) {
  const layers = [];
  for (let one = element; one; one = one.parentElement) layers.push(channels(getComputedStyle(one).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
}

function luminance(color) {
  const [red, green, blue] = color.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [bright, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (bright + 0.05) / (dark + 0.05);
}

function look(color, below, least, what) {
  looked += 1;
  const ratio = contrast(over(channels(color), below), below);
  if (ratio < least) found.push(`${what}: ${ratio.toFixed(2)} of ${least} (${color} on ${below.slice(0, 3)})`);
}

function name(element) {
  return `${element.tagName.toLowerCase()}.${element.getAttribute("class") || ""} "${element.textContent.trim().slice(0, 30)}"`;
}

for (const element of document.querySelectorAll("body *")) {
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  if (style.visibility === "hidden" || style.display === "none" || box.width < 2 || box.height < 2) continue;
  const has = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (has || element.matches("input:not([type=checkbox]), select, textarea")) {
    look(style.color, ground(element), large ? 3 : 4.5, `text ${name(element)}`);
  }
  if (element.placeholder) {
    look(getComputedStyle(element, "::placeholder").color, ground(element), 4.5, `placeholder ${name(element)}`);
  }
  if (element.matches("td[data-label]") && getComputedStyle(element, "::before").content !== "none") {
    look(getComputedStyle(element, "::before").color, ground(element), 4.5, `label ${name(element)}`);
  }
  if (element.matches("input:not([type=checkbox]), select, textarea")) {
    look(style.borderTopColor, ground(element.parentElement), 3, `border ${name(element)}`);
  }
  if (element.matches(".dot")) look(style.borderTopColor, ground(element.parentElement), 3, `mark ${name(element)}`);
  if (element.matches(".legend span")) look(style.borderTopColor, ground(element), 3, `legend ${name(element)}`);
  if (element.matches(".chart path")) look(style.stroke, ground(element.closest("figure")), 3, `line ${name(element)}`);
  if (element.matches(":focus-visible")) {
    look(style.outlineColor, ground(element.parentElement), 3, `focus ${name(element)}`);
  }
}
return { found, looked };
