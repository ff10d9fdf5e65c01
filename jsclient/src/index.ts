export { parseBatch, encodeBatch } from "./wire/codec.js";
