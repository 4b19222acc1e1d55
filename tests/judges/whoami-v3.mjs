// AWS SDK for JavaScript v3: credentials by its default chain; with an STS, who they are.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { fromNodeProviderChain } from "@aws-sdk/credential-providers";

const credentials = await fromNodeProviderChain()();
const endpoint = process.env.AWS_ENDPOINT_URL_STS;
const identity = new GetCallerIdentityCommand({});
const arn = endpoint && (await new STSClient({ credentials, endpoint }).send(identity)).Arn;
const { accessKeyId, secretAccessKey, sessionToken, expiration } = credentials;
console.log(JSON.stringify({ accessKeyId, secretAccessKey, sessionToken, expiration, arn }));
