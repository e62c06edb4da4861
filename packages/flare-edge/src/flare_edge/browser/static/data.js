// Examples from a CSV file, read as flare_edge/device/data/table.py reads them.

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Return if a program predicts values, not classes. */
export function predictsValues({ program }) {
  return program.kind === "linear" || program.loss === "squared_error";
}

/**
 * Return the examples of a CSV file's text: [{input, target}], a target being a class from 0, or [value].
 * @throws {Error} It has no rows, lacks a column, or a field is not a number; names line and column.
 */
export function readCsv(text, config) {
  const { target: targetName = null, columns = [], labels = [], scale = 1 } = config.data ?? {};
  const names = labels.map(String);
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/);
  const marks = [...",;\t"].filter((mark) => lines[0].includes(mark));
  const separator = marks.sort((a, b) => lines[0].indexOf(a) - lines[0].indexOf(b))[0] ?? ",";
  const rows = lines
    .map((line, i) => ({ number: i + 1, fields: line.split(separator).map(unquoted) }))
    .filter(({ fields }) => fields.some(Boolean));
  if (!rows.length) throw new Error("The file is empty; it needs a line for each example.");
  const header = rows[0].fields.every(isNumber) ? null : rows.shift().fields;
  if (!rows.length) throw new Error("The file has a line of names, and no examples below it.");
  const width = (header ?? rows[0].fields).length;
  for (const name of header ? [...columns, ...(targetName === null ? [] : [targetName])] : []) {
    if (!header.includes(name)) throw new Error(`The file has no column ${name}; it has ${header.join(", ")}.`);
  }
  const target = header && targetName !== null ? header.indexOf(targetName) : width - 1;
  const others = Array.from({ length: width }, (_, i) => i).filter((i) => i !== target);
  const inputs = header && columns.length ? columns.map((name) => header.indexOf(name)) : others;
  const at = ({ number, fields }, column) => {
    if (isNumber(fields[column])) return Number(fields[column]);
    throw new Error(`Line ${number}, column ${header?.[column] ?? column + 1}: “${fields[column]}” is not a number.`);
  };
  return rows.map((row) => {
    if (row.fields.length !== width) {
      throw new Error(`Line ${row.number} has ${row.fields.length} fields; the first line has ${width}.`);
    }
    const divisor = Math.fround(scale);
    const input = Float32Array.from(inputs, (column) => at(row, column));
    return { input: input.map((each) => each / divisor), target: targetOf(row, target, at, names, predictsValues(config)) };
  });
}

function targetOf(row, column, at, labels, isValue) {
  if (labels.length) {
    const place = labels.indexOf(row.fields[column]);
    if (place < 0) throw new Error(`Line ${row.number}: “${row.fields[column]}” is none of ${labels.join(", ")}.`);
    return place;
  }
  const value = at(row, column);
  if (isValue) return [value];
  if (!(Number.isInteger(value) && value >= 0)) {
    throw new Error(`Line ${row.number}: the class ${value} is not a whole number from 0.`);
  }
  return value;
}

function unquoted(text) {
  const trimmed = text.trim();
  return /^".*"$/.test(trimmed) ? trimmed.slice(1, -1).replaceAll('""', '"').trim() : trimmed;
}

function isNumber(text) {
  return NUMBER.test(text) && Number.isFinite(Number(text));
}
