/** `/docs/`: the HTTP surface of the node that serves the page, drawn from its own `/openapi.json`, and tried out there. Nothing is loaded from elsewhere. */
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js'
import 'swagger-ui-dist/swagger-ui.css'
import './docs.css'

const root = document.querySelector('#docs')
if (root !== null) await show(root)

async function show(at: Element): Promise<void> {
  const answer = await fetch('../openapi.json')
  if (answer.ok) {
    SwaggerUI({
      spec: (await answer.json()) as object,
      domNode: at,
      docExpansion: 'list',
      filter: true,
      deepLinking: true,
      validatorUrl: null,
      // Who is logged in on the dashboard is so here.
      withCredentials: true,
    })
    return
  }
  const text = document.createElement('p')
  text.className = 'docs-trouble'
  text.setAttribute('role', 'alert')
  const link = document.createElement('a')
  link.href = '../'
  link.textContent = 'Log in on the dashboard'
  const isLogin = answer.status === 401 || answer.status === 403
  text.append(
    isLogin
      ? 'The description of this node is for those it knows. '
      : `This node answered ${answer.status}. `,
  )
  if (isLogin) text.append(link, ', then load this page again.')
  at.append(text)
}
