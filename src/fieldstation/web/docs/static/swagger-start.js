// Starts Swagger UI on the station's own document, without the badge of its makers' validator.
SwaggerUIBundle({
  url: "/openapi.json",
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
