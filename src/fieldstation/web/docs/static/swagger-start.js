// Starts Swagger UI on the station's own document, without the badge of its makers' validator.
const answer = await fetch("/openapi.json");
const spec = await answer.json();
// It fills in and sends every example; of an optional parameter that would be somebody else's value.
const operations = Object.values(spec.paths).flatMap((path) => Object.values(path));
const shared = Object.values(spec.components.parameters);
for (const parameter of [...operations.flatMap((operation) => operation.parameters ?? []), ...shared]) {
  if (!parameter.required) delete parameter.examples;
}
SwaggerUIBundle({
  spec,
  dom_id: "#reference",
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  displayRequestDuration: true,
  requestSnippetsEnabled: true,
  onComplete: () => document.getElementById("loading")?.remove(),
});
