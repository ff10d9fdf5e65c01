// The client for the adapters. A bridge serves both as bundles, and there this
// name is that of the client's, so that both have the same classes.

export * from "./index.js";
