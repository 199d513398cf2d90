// Writes ONNX models: just enough of protobuf's wire format for the few messages of onnx.proto that a small graph needs.

const IR_VERSION = 10;
const OPSETS = { '': 23, 'com.microsoft': 1 };
const FLOAT = 1; // TensorProto.DataType
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 };

const utf8 = new TextEncoder();

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return bytes;
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// Fields: a number, then what it holds. Wire type 0 is a varint, 2 is bytes with their length ahead, 5 is four bytes.
const int = (field, value) => joined([varint(field << 3), varint(value)]);
const bytes = (field, value) => joined([varint((field << 3) | 2), varint(value.length), value]);
const text = (field, value) => bytes(field, utf8.encode(value));
const message = (field, ...parts) => bytes(field, joined(parts));
const float = (field, value) => joined([varint((field << 3) | 5), new Uint8Array(Float32Array.of(value).buffer)]);

const valueInfo = (field, name, shape) =>
  message(field, text(1, name), message(2, message(1, int(1, FLOAT), message(2, ...shape.map((size) => message(1, int(1, size)))))));

const tensor = (field, name, { data, shape }) =>
  message(field, ...shape.map((size) => int(1, size)), int(2, FLOAT), text(8, name),
    bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)));

function attribute(name, value) {
  if (typeof value === 'string') return message(5, text(1, name), text(4, value), int(20, ATTRIBUTE_TYPE.string));
  if (Array.isArray(value)) return message(5, text(1, name), ...value.map((one) => int(8, one)), int(20, ATTRIBUTE_TYPE.ints));
  // A float is told from an integer by its attribute's name: JavaScript has one kind of number.
  if (name === 'scale') return message(5, text(1, name), float(2, value), int(20, ATTRIBUTE_TYPE.float));
  return message(5, text(1, name), int(3, value), int(20, ATTRIBUTE_TYPE.int));
}

const node = ({ op, domain = '', inputs, outputs, attributes = {} }) =>
  message(1, ...inputs.map((name) => text(1, name)), ...outputs.map((name) => text(2, name)), text(4, op), text(7, domain),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)));

/**
 * The bytes of a model, all of whose tensors are float32.
 * nodes: { op, domain, inputs, outputs, attributes }; inputs and outputs: { name: shape }; constants: { name: { data, shape } }.
 */
export function encodeModel({ nodes, inputs, outputs, constants = {} }) {
  return joined([
    int(1, IR_VERSION),
    message(7,
      ...nodes.map(node),
      text(2, 'bench'),
      ...Object.entries(constants).map(([name, value]) => tensor(5, name, value)),
      ...Object.entries(inputs).map(([name, shape]) => valueInfo(11, name, shape)),
      ...Object.entries(outputs).map(([name, shape]) => valueInfo(12, name, shape))),
    ...Object.entries(OPSETS).map(([domain, version]) => message(8, text(1, domain), int(2, version))),
  ]);
}
