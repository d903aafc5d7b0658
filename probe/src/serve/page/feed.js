// The probe's events. Reconnects whenever the connection breaks, also after a restart of the probe.

// The event `second` arrives once a second. After this time without one the probe is unreachable.
const SILENCE_MS = 6_000;
const RETRY_MS = 2_000;

export function follow({ hello, second, lost }) {
  let source, silence, since = null;

  function open() {
    source?.close();
    source = new EventSource("/api/events");
    source.addEventListener("hello", (event) => { alive(); hello(JSON.parse(event.data)); });
    source.addEventListener("second", (event) => { alive(); second(JSON.parse(event.data)); });
    // The browser's own retry ends for good at an answer that is no stream, so it is not relied on.
    source.addEventListener("error", gone);
    watch(SILENCE_MS);
  }

  function alive() {
    since = null;
    watch(SILENCE_MS);
  }

  function gone() {
    since ??= new Date();
    lost(since);
    source.close();
    watch(RETRY_MS);
  }

  function watch(milliseconds) {
    clearTimeout(silence);
    silence = setTimeout(source.readyState === EventSource.CLOSED ? open : gone, milliseconds);
  }

  open();
}
