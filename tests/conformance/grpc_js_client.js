// A grpc-js client of tests/proxy/harness.py's Echo service: every kind of call, bytes in and out; one line of JSON.
// usage: node grpc_js_client.js <path of @grpc/grpc-js> <port>
const grpc = require(process.argv[2]);
const bytes = (b) => b;
const client = new grpc.Client(`127.0.0.1:${process.argv[3]}`, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
});
const path = (name) => `/echo.Echo/${name}`;
const promised = (start) =>
  new Promise((ok) => start((error, value) => ok({ code: error ? error.code : 0, details: error?.details, value })));
const unary = (name, body, metadata = new grpc.Metadata(), options = {}) =>
  promised((done) => client.makeUnaryRequest(path(name), bytes, bytes, body, metadata, options, done));
const collected = (stream) =>
  new Promise((ok) => {
    const all = [];
    stream.on("data", (b) => all.push(b.toString()));
    stream.on("error", (e) => ok({ code: e.code, all }));
    stream.on("end", () => ok({ code: 0, all }));
  });

async function main() {
  const results = {};
  results.unary = (await unary("unary", Buffer.from("hello"))).value.toString();
  const big = Buffer.alloc(16 << 20, "grpc-js");
  results.big = big.equals((await unary("unary", big)).value);
  results.many = (await Promise.all([...Array(1000)].map(() => unary("unary", Buffer.from("x"))))).filter(
    (r) => r.code === 0,
  ).length;
  const failed = await unary("fail", Buffer.from(""));
  results.fail = [failed.code, failed.details];
  results.unknown = (await unary("nonsense", Buffer.from(""))).code;
  results.deadline = (await unary("slow", Buffer.from(""), new grpc.Metadata(), { deadline: Date.now() + 300 })).code;
  results.server = (await collected(client.makeServerStreamRequest(path("server"), bytes, bytes, Buffer.from("50")))).all.length;
  results.client = (
    await promised((done) => {
      const call = client.makeClientStreamRequest(path("client"), bytes, bytes, done);
      for (let i = 0; i < 50; i++) call.write(Buffer.from("12"));
      call.end();
    })
  ).value.toString();
  const bidi = client.makeBidiStreamRequest(path("bidi"), bytes, bytes);
  const answers = collected(bidi);
  for (const word of ["abc", "def"]) bidi.write(Buffer.from(word));
  bidi.end();
  results.bidi = (await answers).all;
  const cancelled = client.makeServerStreamRequest(path("server"), bytes, bytes, Buffer.from("100000"));
  cancelled.once("data", () => cancelled.cancel());
  results.cancel = (await collected(cancelled)).code;
  console.log(JSON.stringify(results));
  client.close();
}
main();
