// The search runs in a worker, which browsers do not allow for pages that are read from file://.
// There a hidden frame takes its place: it loads the same script and has the same two methods.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.ready = new Promise((resolve) => {
        frame.addEventListener("load", () => resolve(frame.contentWindow));
      });
      // The script posts to whoever made it, which in a frame would be the frame itself.
      frame.begin = (inside) => {
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      };
      const address = new URL(url, document.baseURI).href.replaceAll("&", "&amp;").replaceAll('"', "%22");
      frame.srcdoc = `<script>frameElement.begin(window)</script><script src="${address}"></script>`;
      document.documentElement.appendChild(frame);
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
  };
  window.Worker = window.IFrameWorker;
}
