// node-postgres against the proxy: simple, parametrised, named, pool, COPY, LISTEN, cancel, errors.
// Arguments: connection settings as JSON. Prints one word for each part that went well.
import { createRequire } from 'node:module';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import assert from 'node:assert/strict';

const require = createRequire(process.cwd() + '/');
const pg = require('pg');
const copy = require('pg-copy-streams');
const { schema, ...settings } = JSON.parse(process.argv[2]);
const config = { ...settings, options: `-c search_path=${schema}`, application_name: 'node' };

async function connected(work) {
  const client = new pg.Client(config);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

const parts = {
  async simple(client) {
    await client.query('CREATE TABLE item (id int PRIMARY KEY, name text)');
    const several = await client.query('SELECT 1 AS a; SELECT 2 AS b');
    assert.deepEqual(several.map((each) => each.rows[0]), [{ a: 1 }, { b: 2 }]);
  },

  async parametrised(client) {
    for (let n = 0; n < 20; n++) {
      const { rows } = await client.query('SELECT $1::int + 1 AS n, $2::text AS t', [n, 'x']);
      assert.deepEqual(rows, [{ n: n + 1, t: 'x' }]);
    }
  },

  async named(client) {
    for (let n = 0; n < 20; n++) {
      const query = { name: `q${n % 3}`, text: `SELECT $1::int * ${n % 3} AS n`, values: [n] };
      assert.equal((await client.query(query)).rows[0].n, n * (n % 3));
    }
  },

  async queued(client) {
    // Sent without waiting for each other's answers.
    const asked = [...Array(100).keys()].map((n) => client.query('SELECT $1::int AS n', [n]));
    assert.deepEqual((await Promise.all(asked)).map((each) => each.rows[0].n), [
      ...Array(100).keys(),
    ]);
  },

  async transaction(client) {
    await client.query('BEGIN');
    await client.query('INSERT INTO item VALUES ($1, $2)', [1, 'one']);
    await assert.rejects(client.query('INSERT INTO item VALUES (1)'), { code: '23505' });
    await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
    await client.query('ROLLBACK');
    assert.equal((await client.query('SELECT count(*)::int AS n FROM item')).rows[0].n, 0);
  },

  async copied(client) {
    const rows = Readable.from([...Array(5000).keys()].map((n) => `${n}\tname ${n}\n`));
    await pipeline(rows, client.query(copy.from('COPY item FROM STDIN')));
    let size = 0;
    const out = client.query(copy.to('COPY item TO STDOUT'));
    await pipeline(out, async (chunks) => {
      for await (const chunk of chunks) size += chunk.length;
    });
    assert(size > 5000 * 8);
  },

  async listen(client) {
    const heard = new Promise((resolve) => client.once('notification', resolve));
    await client.query(`LISTEN ${schema}`);
    await connected((other) => other.query('SELECT pg_notify($1, $2)', [schema, 'hello']));
    assert.equal((await heard).payload, 'hello');
    await client.query(`UNLISTEN ${schema}`);
  },

  async types(client) {
    const { rows } = await client.query(
      `SELECT ARRAY[1, 2] AS a, '{"k": 1}'::jsonb AS j, 'x'::bytea AS b, 1.5::float8 AS f`,
    );
    assert.deepEqual(rows[0], { a: [1, 2], j: { k: 1 }, b: Buffer.from('x'), f: 1.5 });
  },

  async timeout(client) {
    await client.query("SET statement_timeout = '50ms'");
    await assert.rejects(client.query('SELECT pg_sleep(60)'), { code: '57014' });
    await client.query('RESET statement_timeout');
  },

  async pool() {
    const pool = new pg.Pool({ ...config, max: 6 });
    const asked = [...Array(200).keys()].map((n) => pool.query('SELECT $1::int * 2 AS n', [n]));
    const answers = await Promise.all(asked);
    answers.forEach((answer, n) => assert.equal(answer.rows[0].n, n * 2));
    await pool.end();
  },
};

for (const [name, work] of Object.entries(parts)) {
  await connected(work);
  console.log(name);
}
