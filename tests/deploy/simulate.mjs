// Read questions from stdin, answer them by AWS's rules: may this principal do this?
// In: [{principal, action, resource, context, policies, resourcePolicy?}], out: [{allowed, why}].
import { createRequire } from 'node:module'

const require = createRequire(new URL('../judges/node_modules/', import.meta.url))
const { runSimulation } = require('@cloud-copilot/iam-simulate')

const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }

async function decide({ principal, action, resource, context = {}, policies = [], resourcePolicy }) {
  // An image or a snapshot belongs to nobody here, and so does '*': it counts as the principal's own.
  const account = resource.split(':')[4] || principal.split(':')[4]
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
  const result = answer.overallResult // also of '*', which the simulator asks as several resources
  return { allowed: result === 'Allowed', why: result }
}

let text = ''
for await (const part of process.stdin) text += part
const answers = []
for (const question of JSON.parse(text)) answers.push(await decide(question))
process.stdout.write(JSON.stringify(answers))
