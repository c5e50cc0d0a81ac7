// sqs-consumer with the AWS SDK for JavaScript, as its documentation writes a worker: batches of ten, the objects of a
// batch side by side, a small object by one GET and one PUT, a large one as a stream through lib-storage's Upload.
//
//     consumer.mjs ENDPOINT QUEUE JOBS CONSUMERS      (run where node_modules holds the packages)

import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const { Consumer } = require("sqs-consumer");
const { SQSClient, GetQueueUrlCommand } = require("@aws-sdk/client-sqs");
const { S3Client, GetObjectCommand, PutObjectCommand } = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");

const [endpoint, queue, jobs, consumers] = process.argv.slice(2);
const s3 = new S3Client({ endpoint, forcePathStyle: true });
const sqs = new SQSClient({ endpoint });
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: queue }));
const place = (uri) => {
  const slash = uri.indexOf("/", 5);
  return { Bucket: uri.slice(5, slash), Key: uri.slice(slash + 1) };
};
let left = Number(jobs);

async function work(message) {
  const { input, output } = JSON.parse(message.Body);
  const got = await s3.send(new GetObjectCommand(place(input)));
  if (got.ContentLength <= 8 << 20) {
    const body = await got.Body.transformToByteArray();
    await s3.send(new PutObjectCommand({ ...place(output), Body: body }));
  } else {
    await new Upload({ client: s3, partSize: 8 << 20, queueSize: 4, params: { ...place(output), Body: got.Body } }).done();
  }
}

const all = Array.from({ length: Number(consumers) }, () =>
  Consumer.create({
    queueUrl: QueueUrl,
    sqs,
    batchSize: 10,
    waitTimeSeconds: 1,
    handleMessageBatch: async (messages) => {
      await Promise.all(messages.map(work));
      return messages;
    },
  }),
);
function fail(error) {
  console.error(error);
  process.exit(1);
}
for (const consumer of all) {
  consumer.on("error", fail);
  consumer.on("processing_error", fail);
  // Told after the batch's delete has been answered.
  consumer.on("message_processed", () => {
    left -= 1;
    if (left === 0) process.exit(0);
  });
  consumer.start();
}
