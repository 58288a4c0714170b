// Runs in a copy of the report when that is loaded: uses it as a reader does, and tells the page around it what is wrong. Before it: DARK and WIDTH, what is to be seen, and
// `asked`, what the page asked others for.
const wrong = [];
const must = (holds, what) => { if (!holds) wrong.push(what); };
const counted = { texts: 0, heads: 0, rows: 0 };
// Without a mouse: the element must be able to have the focus, and the key goes to what has it.
const press = (element, key) => {
  element.focus();
  must(document.activeElement === element && element.tabIndex === 0, `${element.textContent} can't be reached by keyboard`);
  document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
};

const root = document.documentElement;
must(innerWidth === WIDTH, `the window is ${innerWidth} pixels wide`);
must(root.scrollWidth <= root.clientWidth, `the page is ${root.scrollWidth} pixels wide, the window ${root.clientWidth}`);
must(matchMedia('(prefers-color-scheme: dark)').matches === DARK, 'the theme is not the one that was asked for');
must(asked.length === 0, `it asks for ${asked}`);

// Contrast as WCAG defines it.
const channels = colour => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
const luminance = colour => channels(colour).map(c => c / 255)
  .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const back = getComputedStyle(document.body).backgroundColor;
must((luminance(back) < 0.2) === DARK, `the page's colour is ${back}`);
must(contrast(getComputedStyle(document.body).color, back) >= 7, 'text is hard to read');

for (const svg of document.querySelectorAll('figure svg')) {
  const name = svg.closest('figure').id;
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')];
  must(texts.length > 0, `${name}: no text`);
  const boxes = texts.map(text => text.getBoundingClientRect());
  texts.forEach((text, i) => {
    counted.texts++;
    const [box, label] = [boxes[i], `${name}: "${text.textContent.trim()}"`];
    must(box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1,
      `${label} leaves its picture`);
    const size = parseFloat(getComputedStyle(text).fontSize) * frame.width / svg.viewBox.baseVal.width;
    must(size >= 9, `${label} has letters of ${size} pixels`);
    must(contrast(getComputedStyle(text).fill, back) >= 4.5, `${label} is hard to read`);
    boxes.slice(0, i).forEach((other, j) => must(
      box.right <= other.left + 1 || other.right <= box.left + 1 || box.bottom <= other.top + 1 || other.bottom <= box.top + 1,
      `${label} lies on "${texts[j].textContent.trim()}"`));
  });
}

const results = document.getElementById('results');
const rows = () => [...results.tBodies[0].rows];
const all = rows().length;
const cell = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent;
const ordered = (values, sign) => values.every((value, i) => {
  if (i === 0) return true;
  const before = values[i - 1];
  const numbers = [before, value].every(text => text !== '' && !isNaN(text));
  return sign * (numbers ? before - value : before.localeCompare(value)) <= 0;
});
document.getElementById('all').click();
must(getComputedStyle(results.querySelector('.more')).display !== 'none', 'the other columns stay hidden');
[...results.tHead.rows[0].cells].forEach((head, i) => {
  counted.heads++;
  for (const sign of [1, -1]) {
    if (sign > 0) head.click(); else press(head, ' ');
    must(ordered(rows().map(row => cell(row, i)), sign), `${head.textContent} is not sorted ${sign > 0 ? 'up' : 'down'}`);
  }
  must(rows().length === all, `${head.textContent}: sorting loses rows`);
});
must(root.scrollWidth <= root.clientWidth, 'with all columns the page is wider than the window');

const stored = JSON.parse(document.getElementById('runs').textContent);
const accesses = [...results.tHead.rows[0].cells].findIndex(head => head.textContent === 'accesses');
const dialog = document.getElementById('run');
for (const row of rows()) {
  counted.rows++;
  row.cells[accesses].click();
  must(dialog.open, `row ${row.dataset.run}: no run opens`);
  const text = dialog.querySelector('pre').textContent;
  const run = text && JSON.parse(text);
  must(run && String(run.point) === row.dataset.run && run.answer.experiment, `row ${row.dataset.run}: not its run`);
  must(JSON.stringify(run) === JSON.stringify(stored[row.dataset.run]), `row ${row.dataset.run}: the run is not complete`);
  must(run && String(run.answer.counts.accesses) === cell(row, accesses), `row ${row.dataset.run}: the number is not the run's`);
  must(run && run.axes.every(([, label], i) => label === row.cells[i].textContent), `row ${row.dataset.run}: another place`);
  const box = dialog.getBoundingClientRect();
  must(box.left >= 0 && box.right <= innerWidth, `row ${row.dataset.run}: the run leaves the window`);
  dialog.querySelector('button').click();
  must(!dialog.open, `row ${row.dataset.run}: the run does not close`);
  dialog.querySelector('pre').textContent = '';
  press(row, 'x');
  must(!dialog.open, `row ${row.dataset.run}: any key opens it`);
  press(row, 'Enter');
  must(dialog.open && dialog.querySelector('pre').textContent === text, `row ${row.dataset.run}: Enter does not open its run`);
  dialog.close();
  must(document.activeElement === row, `row ${row.dataset.run}: the focus is lost when the run closes`);
}

parent.postMessage(JSON.stringify({ wrong, ...counted }), '*');
