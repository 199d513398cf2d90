// A program that is started, listened to, and ended. It is in this process's group, so that whoever ends that ends it, too.

import { spawn } from 'node:child_process';

/** start(command, args, env) -> { said(pattern), stop() }; said() waits for what it prints on either stream. */
export function start(command, args, env = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const program = {};
  let text = '';
  const waiting = new Set();
  const heard = (chunk) => {
    text += chunk;
    for (const check of waiting) check();
  };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', heard);
  const ended = new Promise((resolve) => { child.on('exit', resolve).on('error', resolve); });
  const last = () => child.kill('SIGKILL');
  const interrupted = () => {
    last();
    process.exit(143);
  };
  process.on('exit', last).on('SIGTERM', interrupted);
  program.said = (pattern) => new Promise((resolve, reject) => {
    const settle = (act, value) => {
      clearTimeout(timer);
      waiting.delete(check);
      act(value);
    };
    const check = () => pattern.test(text) && settle(resolve, pattern.exec(text));
    const timer = setTimeout(() => settle(reject, new Error(`${command} did not say ${pattern} in a minute: ${text}`)), 60_000);
    waiting.add(check);
    ended.then((status) => settle(reject, new Error(`${command} ended (${status}): ${text}`)));
    check();
  });
  program.stop = async () => {
    child.kill('SIGTERM');
    const kill = setTimeout(last, 5000);
    await ended;
    clearTimeout(kill);
    process.off('exit', last).off('SIGTERM', interrupted);
  };
  return program;
}
