/** Who may do what, from least to most. A pure list, so that the contract and the dashboard may know it. */
export const accessRoles = ['viewer', 'operator', 'admin'] as const
export type AccessRole = (typeof accessRoles)[number]

/** Each role may do what the ones before it may. */
export function mayAct(has: AccessRole, needed: AccessRole): boolean {
  return accessRoles.indexOf(has) >= accessRoles.indexOf(needed)
}
