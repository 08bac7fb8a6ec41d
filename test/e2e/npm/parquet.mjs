// Reads the Parquet files below a folder as they are, without asking the catalog.
// It prints how many rows and how many different uuids they hold, and writes uuid
// and location of each row as CSV.
import { DuckDBInstance } from "@duckdb/node-api";

const [folder, csv] = process.argv.slice(2);
const quoted = (s) => `'${s.replaceAll("'", "''")}'`;
const rows = `read_parquet(${quoted(folder + "/**/*.parquet")})`;
const connection = await (await DuckDBInstance.create()).connect();
const counts = await connection.runAndReadAll(
  `SELECT count(*)::INTEGER AS rows, count(DISTINCT uuid)::INTEGER AS uuids FROM ${rows}`,
);
await connection.run(`COPY (SELECT uuid, location FROM ${rows}) TO ${quoted(csv)} (HEADER false)`);
console.log(JSON.stringify(counts.getRowObjectsJson()[0]));
