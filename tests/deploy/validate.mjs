// Reads JSON objects of the Prometheus operator from stdin, one a line; prints what its CRDs refuse.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const object = JSON.parse(line);
  const module = `@kubernetes-models/prometheus-operator/${object.apiVersion}/${object.kind}`;
  const { [object.kind]: Kind } = await import(module);
  try {
    new Kind(object).validate();
  } catch (error) {
    console.log(`${object.kind} ${object.metadata.name}: ${error.message}`);
  }
}
