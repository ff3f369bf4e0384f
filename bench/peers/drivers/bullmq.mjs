// BullMQ on Node: the same commands, payload and record as common.py. The worker is a short program, as its guide shows.

import { readFileSync, openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// ES modules are looked up from this file's place, the packages lie in the environment: NODE_PATH counts for `require` only.
const require = createRequire(pathToFileURL(`${process.env.BENCH_ENVIRONMENT}/package.json`));
const { Queue, Worker } = require('bullmq');
const IORedis = require('ioredis');

const WARM_UP = 2 ** 40;
const BULK = 1000;
const LONG_MS = 60_000;
const JOB = { attempts: 3, backoff: { type: 'exponential', delay: 1000 } };
const KEEP = { removeOnComplete: { count: 1000, age: 24 * 3600 }, removeOnFail: { count: 5000, age: 7 * 24 * 3600 } };

// performance.timeOrigin is CLOCK_REALTIME at the start, in microseconds; good to some microseconds over a run's length
const nowNs = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function payload(seq, dueNs = 0n, holdMs = 0) {
  return {
    seq,
    due_ns: String(dueNs || nowNs()), // a number of JavaScript holds no nanoseconds since 1970
    hold_ms: holdMs,
    conversation_id: `5500900000000-${String(seq % 1_000_000).padStart(6, '0')}`,
    message_id: `wamid.HBgNNTUwMDAwMDAwMDAwMBUCABIYFjNFQjA${String(seq).padStart(13, '0')}`,
    type: 'text',
    content: 'Olá! Gostaria de saber se ainda há horário livre na quinta-feira à tarde, por favor.',
  };
}

let file = -1;
const bytes = Buffer.alloc(32);

function record(seq, dueNs, startedNs, endedNs) {
  if (file < 0) file = openSync(process.env.BENCH_RECORDS, 'a');
  bytes.writeBigUInt64LE(BigInt(seq), 0);
  bytes.writeBigUInt64LE(dueNs, 8);
  bytes.writeBigUInt64LE(startedNs, 16);
  bytes.writeBigUInt64LE(endedNs, 24);
  writeSync(file, bytes);
}

async function handle(job) {
  const started = nowNs();
  const hold = job.data.hold_ms;
  if (hold >= LONG_MS) {
    record(job.data.seq, BigInt(job.data.due_ns), started, 0n);
    await sleep(hold);
    return;
  }
  if (hold) await sleep(hold);
  record(job.data.seq, BigInt(job.data.due_ns), started, nowNs());
}

// --- commands ----------------------------------------------------------------------------------------------------------

const asked = {};
for (let i = 3; i < process.argv.length; i += 2) asked[process.argv[i].slice(2)] = process.argv[i + 1];
const number = (name, missing = 0) => Number(asked[name] ?? missing);

function version(name) {
  return JSON.parse(readFileSync(`${process.env.BENCH_ENVIRONMENT}/node_modules/${name}/package.json`)).version;
}

function describe() {
  return {
    versions: { bullmq: version('bullmq'), ioredis: version('ioredis'), node: process.versions.node },
    runs_as: 'promises in one process',
    bulk: 'its own bulk call',
    most_pool: 1000,
    notes: {},
    refuses: {},
    settings: [
      ['concurrency', 'the pool', 'what is being compared'],
      ['attempts, backoff', '3, exponential from 1 s', 'the default is no retry'],
      ['removeOnComplete', '1,000 jobs or a day', 'the default keeps every job for ever; the guide advises a bound'],
      ['removeOnFail', '5,000 jobs or 7 days', 'the same for failed ones'],
      ['maxRetriesPerRequest', 'null (workers)', 'workers demand it: they outlive an outage'],
      ['lockDuration, stalledInterval', '30 s (defaults)', 'decide how soon a lost job comes back'],
      ['client', 'ioredis', 'its default client'],
    ],
  };
}

async function withQueue(work) {
  const connection = new IORedis(process.env.REDIS_URL);
  const queue = new Queue('bench', { connection });
  await queue.waitUntilReady();
  const found = await work(queue);
  await queue.close();
  await connection.quit();
  return found;
}

async function add(queue, how, first, count, holdMs) {
  if (how === 'one') {
    for (let seq = first; seq < first + count; seq++) await queue.add('message', payload(seq, 0n, holdMs), { ...JOB, ...KEEP });
    return;
  }
  for (let start = first; start < first + count; start += BULK) {
    const some = [];
    for (let seq = start; seq < Math.min(start + BULK, first + count); seq++) {
      some.push({ name: 'message', data: payload(seq, 0n, holdMs), opts: { ...JOB, ...KEEP } });
    }
    await queue.addBulk(some);
  }
}

async function enqueue() {
  await sleep(Math.max(number('not-before') * 1000 - Date.now(), 0));
  return withQueue(async (queue) => {
    await add(queue, asked.how, WARM_UP, number('warm'), number('hold-ms'));
    const began = performance.now();
    await add(queue, asked.how, number('first'), number('count'), number('hold-ms'));
    const seconds = (performance.now() - began) / 1000;
    const cpu = process.cpuUsage();
    return { count: number('count'), seconds, cpu_seconds: (cpu.user + cpu.system) / 1e6 };
  });
}

function load() {
  return withQueue(async (queue) => {
    const rate = number('rate');
    const count = Math.floor(rate * number('seconds'));
    await add(queue, 'one', WARM_UP, 100, 0);
    await sleep(300);
    const late = [];
    const sent = [];
    const began = performance.now() + 50;
    for (let seq = 0; seq < count; seq++) {
      const planned = began + (seq * 1000) / rate;
      const wait = planned - performance.now();
      if (wait > 0) await sleep(wait);
      late.push(performance.now() - planned);
      sent.push(queue.add('message', payload(seq), { ...JOB, ...KEEP }));
    }
    await Promise.all(sent);
    const seconds = (performance.now() - began) / 1000;
    late.sort((a, b) => a - b);
    return { count, seconds, late_ms: late[Math.floor(late.length * 0.99)] };
  });
}

function delayed() {
  return withQueue(async (queue) => {
    const count = number('count');
    const first = Date.now() + number('lead') * 1000;
    for (let seq = 0; seq < count; seq++) {
      const due = first + (number('over') * 1000 * seq) / count;
      const dueNs = BigInt(Math.round(due * 1000)) * 1000n;
      const delay = Math.ceil(due - Date.now() + 1); // whole milliseconds, rounded up
      await queue.add('message', payload(seq, dueNs), { ...JOB, ...KEEP, delay });
    }
    return { count, spare_s: (first - Date.now()) / 1000, first_ns: first * 1e6 };
  });
}

function worker() {
  const connection = new IORedis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
  connection.on('error', () => {});
  const running = new Worker('bench', handle, { connection, concurrency: number('pool'), ...KEEP });
  running.on('error', (error) => console.error(String(error)));
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, async () => {
      await running.close();
      process.exit(0);
    });
  }
}

const command = process.argv[2];
if (command === 'worker') worker();
else console.log(JSON.stringify(command === 'describe' ? describe() : await { enqueue, load, delayed }[command]()));
