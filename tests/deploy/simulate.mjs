// Read questions from stdin, answer them by AWS's rules: may this principal do this?
// In: [{principal, action, resource, context, policies, resourcePolicy?}], out: [{allowed, why}].
import { createRequire } from 'node:module'

const require = createRequire(new URL('../judges/node_modules/', import.meta.url))
const { runSimulation } = require('@cloud-copilot/iam-simulate')

const account = '123456789012'
const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }

async function decide({ principal, action, resource, context = {}, policies = [], resourcePolicy }) {
  const answer = await runSimulation(
    {
      request: { principal, action, resource: { resource, accountId: account }, contextVariables: context },
      identityPolicies: policies.map((policy, number) => ({ name: `policy-${number}`, policy })),
      serviceControlPolicies: [{ orgIdentifier: 'o-1', policies: [{ name: 'all', policy: everything }] }],
      resourceControlPolicies: [],
      resourcePolicy
    },
    {}
  )
  if (answer.errors) return { allowed: false, why: JSON.stringify(answer.errors) }
  const { result } = answer.result.analysis
  return { allowed: result === 'Allowed', why: result }
}

let text = ''
for await (const part of process.stdin) text += part
const answers = []
for (const question of JSON.parse(text)) answers.push(await decide(question))
process.stdout.write(JSON.stringify(answers))
