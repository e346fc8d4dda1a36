// Prints the protocol's official JSON Schemas by version, as the conformance suite (the bundle in argv[2]) carries them.
// They are object literals, one right after the other, in front of the table that names them by version.
import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";

const bundle = readFileSync(process.argv[2], "utf8");
const table = /const \w+=\{"2025-03-26":(\w+),"2025-06-18":(\w+),"2025-11-25":(\w+),\[\w+\]:(\w+)\}/.exec(bundle);
const first = bundle.lastIndexOf(`${table[1]}={$schema:`, table.index);
const names = table.slice(1, 5);
const literals = `var ${bundle.slice(first, table.index)};[${names}]`;
const versions = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
const schemas = runInNewContext(literals);
process.stdout.write(JSON.stringify(Object.fromEntries(versions.map((version, at) => [version, schemas[at]]))));
