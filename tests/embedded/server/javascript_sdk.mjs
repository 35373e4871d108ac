// What E2B's JavaScript SDK does against the embedded server, a function for each subject; test_javascript.py runs
// them one by one: `node javascript_sdk.mjs commands`.

import assert from 'node:assert/strict'
import { CommandExitError, FileType, NotFoundError, Sandbox, TimeoutError } from 'e2b'

const until = async (holds) => {
  const deadline = Date.now() + 20_000
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, 'it did not come about in time')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const subjects = {
  async commands(sandbox) {
    const pieces = []
    const result = await sandbox.commands.run('echo out; echo error >&2; echo $NAME; pwd', {
      envs: { NAME: 'value' },
      cwd: '/tmp',
      onStdout: (piece) => pieces.push(piece),
    })
    assert.deepEqual([result.exitCode, result.stdout, result.stderr], [0, 'out\nvalue\n/tmp\n', 'error\n'])
    assert.equal(pieces.join(''), result.stdout)
    await assert.rejects(sandbox.commands.run('exit 3'), (error) => error instanceof CommandExitError && error.exitCode === 3)
    await assert.rejects(sandbox.commands.run('sleep 60', { timeoutMs: 300 }), TimeoutError)

    const cat = await sandbox.commands.run('cat', { background: true, stdin: true })
    await sandbox.commands.sendStdin(cat.pid, 'given')
    await until(() => cat.stdout === 'given')
    const again = await sandbox.commands.connect(cat.pid)
    assert.ok((await sandbox.commands.list()).some((one) => one.pid === cat.pid))
    assert.equal(await sandbox.commands.kill(cat.pid), true)
    await assert.rejects(again.wait(), CommandExitError)
    assert.equal(await sandbox.commands.kill(cat.pid), false)
  },

  async files(sandbox) {
    const bytes = new Uint8Array(300_000).map((_, index) => index % 251)
    await sandbox.files.write('deep/er/bytes', bytes.buffer)
    assert.deepEqual(await sandbox.files.read('deep/er/bytes', { format: 'bytes' }), bytes)
    await sandbox.files.write([{ path: 'one', data: 'é' }, { path: 'two', data: new Blob(['blob']) }])
    assert.equal(await sandbox.files.read('one'), 'é')
    const stream = await sandbox.files.read('two', { format: 'stream' })
    assert.equal(await new Response(stream).text(), 'blob')
    const info = await sandbox.files.getInfo('deep')
    assert.deepEqual([info.type, info.path], [FileType.DIR, '/home/user/deep'])
    assert.equal((await sandbox.files.rename('one', 'three')).path, '/home/user/three')
    assert.equal(await sandbox.files.exists('one'), false)
    assert.equal(await sandbox.files.makeDir('deep'), false)
    const names = (await sandbox.files.list('deep', { depth: 2 })).map((entry) => entry.name)
    assert.deepEqual(names, ['er', 'bytes'])
    await sandbox.files.remove('deep')
    await assert.rejects(sandbox.files.list('deep'), NotFoundError)
  },

  async terminals(sandbox) {
    let shown = ''
    const decoder = new TextDecoder()
    const encoder = new TextEncoder()
    const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: (data) => (shown += decoder.decode(data)) })
    await sandbox.pty.sendInput(terminal.pid, encoder.encode('stty size\n'))
    await until(() => shown.includes('24 80'))
    await sandbox.pty.resize(terminal.pid, { cols: 100, rows: 30 })
    await sandbox.pty.sendInput(terminal.pid, encoder.encode('stty size; exit\n'))
    assert.equal((await terminal.wait()).exitCode, 0)
    assert.match(shown, /30 100/)
  },

  async watching(sandbox) {
    const events = []
    await sandbox.files.makeDir('watched')
    const watch = await sandbox.files.watchDir('watched', (event) => events.push(`${event.type} ${event.name}`), {
      recursive: true,
    })
    await sandbox.files.write('watched/new/file', 'x')
    await until(() => events.includes('write new/file'))
    await sandbox.files.rename('watched/new/file', 'watched/new/other')
    await until(() => events.includes('create new/other'))
    assert.ok(events.includes('rename new/file'))
    await watch.stop()
    await assert.rejects(sandbox.files.watchDir('missing', () => {}), NotFoundError)
  },

  async lifetime(sandbox) {
    const details = await sandbox.getInfo()
    assert.equal(details.metadata.subject, 'lifetime')
    await sandbox.setTimeout(600_000)
    assert.ok((await sandbox.getInfo()).endAt > details.endAt)
    const other = await Sandbox.connect(sandbox.sandboxId)
    assert.equal((await other.commands.run('echo same')).stdout, 'same\n')
    const found = []
    const pages = Sandbox.list({ query: { metadata: { subject: 'lifetime' } } })
    while (pages.hasNext) found.push(...(await pages.nextItems()))
    assert.deepEqual(found.map((one) => one.sandboxId), [sandbox.sandboxId])

    const running = await sandbox.commands.run('sleep 60', { background: true })
    const ended = assert.rejects(running.wait(), (error) => !(error instanceof CommandExitError))
    assert.equal(await sandbox.kill(), true)
    await ended
    assert.equal(await sandbox.kill(), false)
    assert.equal(await sandbox.isRunning(), false)
    await assert.rejects(Sandbox.connect(sandbox.sandboxId), NotFoundError)
  },
}

const subject = process.argv[2]
const sandbox = await Sandbox.create({ metadata: { subject } })
try {
  await subjects[subject](sandbox)
} finally {
  await sandbox.kill()
}
