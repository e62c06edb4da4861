// The safetensors format: 8 bytes of length, little-endian, then a header of JSON, then the tensors' bytes.
// Parameters are a Map from name to {shape, data}, with data a Float32Array in row-major order.

/**
 * Return the parameters in a safetensors file.
 * @param {ArrayBuffer} buffer
 * @returns {Map<string, {shape: number[], data: Float32Array}>}
 * @throws {Error} The file is cut off, or a tensor is not float32; names it.
 */
export function read(buffer) {
  const view = new DataView(buffer);
  const length = buffer.byteLength < 8 ? Infinity : Number(view.getBigUint64(0, true));
  if (8 + length > buffer.byteLength) throw new Error(`the model is cut off: it has ${buffer.byteLength} bytes`);
  const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 8, length)));
  const params = new Map();
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header).filter(isTensor)) {
    if (dtype !== "F32") throw new Error(`parameter ${name} is ${dtype}; a browser trains float32 (F32)`);
    const data = new Float32Array(buffer.slice(8 + length + begin, 8 + length + end));
    if (data.length !== shape.reduce((a, b) => a * b, 1)) throw new Error(`parameter ${name} is cut off`);
    params.set(name, { shape, data });
  }
  return params;
}

/**
 * Return parameters as a safetensors file.
 * @param {Map<string, {shape: number[], data: Float32Array}>} params
 * @param {Object<string, string>} metadata
 * @returns {ArrayBuffer}
 */
export function write(params, metadata = {}) {
  const header = { __metadata__: metadata };
  let size = 0;
  for (const [name, { shape, data }] of params) {
    header[name] = { dtype: "F32", shape, data_offsets: [size, size + data.byteLength] };
    size += data.byteLength;
  }
  let text = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8;
  const buffer = new ArrayBuffer(8 + padded + size);
  new DataView(buffer).setBigUint64(0, BigInt(padded), true);
  new Uint8Array(buffer, 8, padded).fill(32);
  new Uint8Array(buffer, 8).set(text);
  let offset = 8 + padded;
  for (const { data } of params.values()) {
    new Float32Array(buffer, offset, data.length).set(data);
    offset += data.byteLength;
  }
  return buffer;
}

function isTensor([name]) {
  return name !== "__metadata__";
}
