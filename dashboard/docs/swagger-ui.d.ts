/** The library brings no types for its module build; what we use of it. */
declare module 'swagger-ui-dist/swagger-ui-es-bundle.js' {
  export default function SwaggerUI(options: {
    readonly spec: object
    readonly domNode: Element
    readonly docExpansion: 'list'
    readonly filter: boolean
    readonly deepLinking: boolean
    readonly validatorUrl: null
    readonly withCredentials: boolean
  }): void
}
