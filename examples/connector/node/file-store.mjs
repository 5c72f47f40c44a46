#!/usr/bin/env node
// A plugin that keeps the newest version of each key as a JSON file: {directory: /path}.
// Files are replaced as a whole, but nothing compares versions while it does so: the guard is
// extsync's own order ("ledger"), and one process writes at a time.
// The types are comments, so that it runs without a build: npx tsc --checkJs checks them.
import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** @typedef {{version: string, digest: string, op: "upsert" | "delete"}} Held */
/** @typedef {Held & {key: string, content?: unknown}} Entity */
/** @typedef {Held & {key: string, payload?: string, attempt: number, again?: boolean}} Attempt */
/** @typedef {{class: string, code?: string, message?: string, held?: Held}} Result */

const hello = { protocol: 1, kind: "file-store", capabilities: { guard: "ledger", probes: true, reads: true, lists: true } };
let directory = "";

/** @param {string} key */
const path = (key) => join(directory, createHash("sha256").update(key).digest("hex") + ".json");

/** @param {string} file @returns {Entity | null} */
function load(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return null;
    throw error;
  }
}

/** A file has its name with all of its content or not at all, and is on the disk. @param {Entity} entity */
function store(entity) {
  const temporary = join(directory, `.new-${process.pid}`);
  const file = openSync(temporary, "w");
  writeFileSync(file, JSON.stringify(entity));
  fsyncSync(file);
  closeSync(file);
  renameSync(temporary, path(entity.key));
  const folder = openSync(directory, "r");
  fsyncSync(folder);
  closeSync(folder);
}

/** @param {Attempt} a @returns {Result} */
function write({ key, version, digest, op, payload }) {
  let content;
  try {
    content = op === "upsert" ? JSON.parse(payload ?? "") : undefined;
  } catch {
    return { class: "permanent", code: "payload", message: "the payload is not JSON" }; // and is not shown
  }
  store({ key, version, digest, op, content });
  return { class: "ok" };
}

/** @param {string} key @returns {Held | null} */
function read(key) {
  const entity = load(path(key));
  return entity && entity.op === "upsert" ? { version: entity.version, digest: entity.digest, op: entity.op } : null;
}

/** @param {string} after @param {number} limit */
function list(after, limit) {
  const files = readdirSync(directory).filter((name) => name.endsWith(".json"));
  const keys = files.map((name) => load(join(directory, name))?.key ?? "").filter((key) => key > after);
  return keys.sort((a, b) => (a < b ? -1 : 1)).slice(0, limit);
}

/** @param {any} request */
function answer(request) {
  switch (request.method) {
    case "hello":
      return hello;
    case "open":
      directory = request.config.directory;
      return {};
    case "apply": {
      // The worker may have lost the keys to another one meanwhile.
      const late = { class: "transient", code: "late", message: "the time of the call is over" };
      return { results: request.attempts.map((/** @type {Attempt} */ a) => (Date.now() >= (request.deadline ?? Infinity) ? late : write(a))) };
    }
    case "read":
      return { held: request.keys.map(read) };
    case "list":
      return { keys: list(request.after, request.limit) };
    case "probe":
      readdirSync(directory);
      return {};
    default:
      return {};
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let reply;
  try {
    reply = answer(request);
  } catch (error) {
    reply = { error: { class: "transient", code: /** @type {any} */ (error).code ?? "error", message: String(/** @type {any} */ (error).message) } };
  }
  process.stdout.write(JSON.stringify({ id: request.id, ...reply }) + "\n");
}
