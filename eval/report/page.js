// Tables that sort by their headers and show the rows that match a text. What is shown is part of
// the address, for links:
//   #sort=TABLE:COLUMN:asc|desc&filter=TEXT&filter-TABLE=TEXT     (columns from 1)
'use strict';

const collator = new Intl.Collator('en', {numeric: true});

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// The header of each column: that of the last line, or one that reaches down to it.
function columnHeads(table) {
  const lines = [...table.tHead.rows];
  const taken = lines.map(() => []);
  const heads = [];
  lines.forEach((line, y) => {
    let x = 0;
    for (const head of line.cells) {
      while (taken[y][x]) ++x;
      for (let down = 0; down < head.rowSpan; ++down) {
        for (let right = 0; right < head.colSpan; ++right) taken[y + down][x + right] = true;
      }
      if (y + head.rowSpan === lines.length) heads[x] = head;
      x += head.colSpan;
    }
  });
  return heads;
}

// Numbers by size, before texts in natural order; what is missing comes last either way.
function sortKey(cell) {
  if (cell.dataset.value !== undefined) return {rank: 0, value: Number(cell.dataset.value)};
  const value = cell.textContent.trim();
  return {rank: value === '' || value === '-' ? 2 : 1, value};
}

function compareKeys(a, b, sign) {
  if (a.rank !== b.rank) return a.rank === 2 || b.rank === 2 ? a.rank - b.rank : sign * (a.rank - b.rank);
  if (a.rank === 2) return 0;
  return sign * (a.rank === 0 ? a.value - b.value : collator.compare(a.value, b.value));
}

// The headers of rows stay where a table scrolls sideways, as many as leave room for figures.
function keepRowHeads(table) {
  const first = [...table.tBodies[0].rows].find((row) => !row.classList.contains('fold') && !row.hidden);
  if (first === undefined) return;
  const room = 0.5 * table.closest('.scroll').clientWidth;
  const lefts = [];
  let left = 0;
  for (const head of first.cells) {
    if (head.tagName !== 'TH') break;
    left += head.offsetWidth;
    if (left > room) break;
    lefts.push(left - head.offsetWidth);
  }
  for (const row of [table.tHead.rows[0], ...table.tBodies[0].rows]) {
    if (row.classList.contains('fold')) continue;
    [...row.cells].slice(0, first.cells.length).forEach((head, column) => {
      if (head.tagName !== 'TH' || (head.parentNode.parentNode === table.tHead && head.scope !== '')) return;
      head.classList.toggle('stays', column < lefts.length);
      head.style.left = column < lefts.length ? `${lefts[column]}px` : '';
    });
  }
}

function words(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

class SortedTable {
  constructor(table, changed) {
    this.table = table;
    this.id = table.closest('[id]').id;
    this.heads = columnHeads(table);
    this.sort = null;  // {column, descending}
    const all = [...table.tBodies[0].rows];
    const shared = table.dataset.shared ?? '';
    this.rows = all.filter((row) => !row.classList.contains('fold')).map((row) => {
      const next = row.nextElementSibling;
      return {row, fold: next && next.classList.contains('fold') ? next : null,
              text: `${row.textContent} ${shared}`.toLowerCase()};
    });
    this.heads.forEach((head, column) => {
      head.setAttribute('aria-sort', 'none');
      const button = make('button', {type: 'button'}, ...head.childNodes);
      button.addEventListener('click', () => {
        this.sort = this.nextSort(column);
        changed();
      });
      head.append(button);
    });
    this.input = make('input', {type: 'search', placeholder: 'Filter rows'});
    this.input.setAttribute('aria-label', 'Filter the rows of this table');
    this.input.addEventListener('input', changed);
    this.count = make('output', {});
    const box = table.closest('.scroll');
    box.before(make('div', {className: 'tools'}, this.input, this.count));
  }

  // Up, down, and as the page has it.
  nextSort(column) {
    if (this.sort === null || this.sort.column !== column) return {column, descending: false};
    return this.sort.descending ? null : {column, descending: true};
  }

  show(pageFilter) {
    this.heads.forEach((head, column) => {
      const sorted = this.sort !== null && this.sort.column === column;
      head.setAttribute('aria-sort',
                        !sorted ? 'none' : this.sort.descending ? 'descending' : 'ascending');
    });
    const wanted = words(pageFilter).concat(words(this.input.value));
    let shown = 0;
    for (const {row, fold, text} of this.sorted()) {
      row.hidden = !wanted.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
      this.table.tBodies[0].append(row);
      if (fold === null) continue;
      fold.hidden = row.hidden;
      this.table.tBodies[0].append(fold);
    }
    this.count.textContent = wanted.length ? `${shown} of ${this.rows.length}` : '';
    this.table.classList.toggle('rearranged', this.sort !== null || shown < this.rows.length);
  }

  sorted() {
    if (this.sort === null) return this.rows;
    const {column, descending} = this.sort;
    const keyed = this.rows.map((entry) => ({entry, key: sortKey(entry.row.cells[column])}));
    keyed.sort((a, b) => compareKeys(a.key, b.key, descending ? -1 : 1));
    return keyed.map(({entry}) => entry);
  }
}

class Page {
  constructor() {
    const changed = () => {
      this.show();
      this.writeAddress();
    };
    this.input = make('input', {type: 'search', placeholder: 'Filter all tables'});
    this.input.setAttribute('aria-label', 'Filter the rows of all tables');
    this.input.addEventListener('input', changed);
    document.querySelector('nav').append(this.input);
    this.tables = [...document.querySelectorAll('table')].map((t) => new SortedTable(t, changed));
    window.addEventListener('hashchange', () => this.readAddress());
    window.addEventListener('resize', () => this.tables.forEach(({table}) => keepRowHeads(table)));
    this.show();
    this.readAddress();
  }

  show() {
    for (const table of this.tables) {
      table.show(this.input.value);
      keepRowHeads(table.table);
    }
  }

  // Other addresses are places in the page, and leave the tables as they are.
  readAddress() {
    const view = new URLSearchParams(location.hash.slice(1));
    if (![...view.keys()].some((key) => key === 'sort' || key.startsWith('filter'))) return;
    this.input.value = view.get('filter') ?? '';
    for (const table of this.tables) {
      table.input.value = view.get(`filter-${table.id}`) ?? '';
      table.sort = null;
    }
    for (const sort of view.getAll('sort')) {
      const [id, number, direction] = sort.split(':');
      const table = this.tables.find((candidate) => candidate.id === id);
      const column = Number(number) - 1;
      if (table !== undefined && column in table.heads)
        table.sort = {column, descending: direction === 'desc'};
    }
    this.show();
  }

  writeAddress() {
    const view = new URLSearchParams();
    for (const {id, sort} of this.tables) {
      if (sort !== null)
        view.append('sort', `${id}:${sort.column + 1}:${sort.descending ? 'desc' : 'asc'}`);
    }
    if (this.input.value !== '') view.append('filter', this.input.value);
    for (const {id, input} of this.tables) {
      if (input.value !== '') view.append(`filter-${id}`, input.value);
    }
    history.replaceState(null, '', '#' + view.toString().replaceAll('%3A', ':'));
  }
}

new Page();
