// AWS SDK for JavaScript v2: credentials by its default chain; with an STS, who they are.
const AWS = require("aws-sdk");

(async () => {
  const credentials = await new AWS.CredentialProviderChain().resolvePromise();
  const endpoint = process.env.AWS_ENDPOINT_URL_STS;
  const sts = new AWS.STS({ credentials, endpoint });
  const arn = endpoint && (await sts.getCallerIdentity().promise()).Arn;
  const { accessKeyId, secretAccessKey, sessionToken, expireTime: expiration } = credentials;
  console.log(JSON.stringify({ accessKeyId, secretAccessKey, sessionToken, expiration, arn }));
})().catch((error) => {
  console.error(error.message, error.originalError?.message ?? "");
  process.exit(1);
});
