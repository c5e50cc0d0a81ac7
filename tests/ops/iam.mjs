// Decides IAM requests with @cloud-copilot/iam-simulate: a list of {policy, action, resource, context}
// on stdin, a list of true, false or an error text on stdout. Run by iam_checks.py and calls_checks.py.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const { runSimulation } = createRequire(process.env.BATCHPIPE_LAB + '/npm/')('@cloud-copilot/iam-simulate')
const account = '123456789012'

// A key obeys IAM only where its own policy says so; this is what KMS gives a new key.
const defaultKeyPolicy = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${account}:root` }, Action: 'kms:*', Resource: '*' }],
}

const decisions = []
for (const { policy, action, resource, context } of JSON.parse(readFileSync(0, 'utf8'))) {
  const response = await runSimulation({
    request: {
      principal: `arn:aws:sts::${account}:assumed-role/worker/i-1`,
      action,
      resource: { resource, accountId: account },
      contextVariables: { 'aws:SecureTransport': 'true', ...context },
    },
    identityPolicies: [{ name: 'policy', policy }],
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    ...(action.startsWith('kms:') ? { resourcePolicy: defaultKeyPolicy } : {}),
  }, {})
  decisions.push(response.resultType === 'error' ? JSON.stringify(response.errors) : response.overallResult === 'Allowed')
}
console.log(JSON.stringify(decisions))
