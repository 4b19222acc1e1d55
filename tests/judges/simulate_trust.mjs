// Read questions from stdin, answer them by AWS's rules: may this principal take this role?
// In: [{principal, action, role, context, policies, trust}], out: [{allowed, why}].
// The package's front door drops context keys that its catalogue does not list for an action, and
// so the claims of an identity provider, which it knows otherwise; its engine itself drops none.
import { createRequire } from 'node:module'

const require = createRequire(new URL('./node_modules/', import.meta.url))
const home = new URL('./node_modules/@cloud-copilot/iam-simulate/dist/cjs/', import.meta.url).pathname
const { authorize } = require(`${home}core_engine/CoreSimulatorEngine.js`)
const { AwsRequestImpl } = require(`${home}request/request.js`)
const { RequestContextImpl } = require(`${home}requestContext.js`)
const { isActualContextKey } = require(`${home}context_keys/contextKeys.js`)
const { loadPolicy } = require(require.resolve('@cloud-copilot/iam-policy', { paths: [home] }))

async function decide({ principal, action, role, context = {}, policies = [], trust }) {
  for (const key of Object.keys(context)) {
    if (!key.startsWith('aws:') && !(await isActualContextKey(key))) return { allowed: false, why: `no such key: ${key}` }
  }
  const result = authorize({
    request: new AwsRequestImpl(
      principal,
      { resource: role, accountId: role.split(':')[4] },
      action,
      new RequestContextImpl(context)
    ),
    sessionPolicy: undefined,
    identityPolicies: policies.map((policy, number) => loadPolicy(policy, { name: `policy-${number}` })),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: loadPolicy(trust, { name: 'trust' }),
    permissionBoundaries: undefined,
    vpcEndpointPolicies: undefined,
    simulationParameters: { simulationMode: 'Strict', discoveryContextKeyConstraints: undefined }
  })
  return { allowed: result.result === 'Allowed', why: result.result }
}

let text = ''
for await (const part of process.stdin) text += part
const answers = []
for (const question of JSON.parse(text)) answers.push(await decide(question))
process.stdout.write(JSON.stringify(answers))
