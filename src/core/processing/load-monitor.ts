/**
 * How many processors a stream wants on one owner: asked every few seconds with what waits. Grows at once, to one processor per so many waiting events;
 * shrinks one at a time, when it was calm twice in a row and the others could do the work of the one that goes.
 */
export interface LoadMonitorOptions {
  /** Waiting events that one processor is good for. */
  readonly threshold: number
  /** On this owner and elsewhere together. */
  readonly processorsMax: number
}

export interface LoadSeen {
  readonly waiting: number
  /** At work now, the owner's own included. */
  readonly processors: number
  /** 0 … 1: of the time since the last look, how much the processors were at work. */
  readonly busyShare: number
}

const calmLooks = 2
/** The others must not be busier than this without the one that goes. */
const busyShareMax = 0.8

export class LoadMonitor {
  private readonly options: LoadMonitorOptions
  private calm = 0

  constructor(options: LoadMonitorOptions) {
    this.options = options
  }

  /** How many there should be, at least one. */
  look({ waiting, processors, busyShare }: LoadSeen): number {
    const { threshold, processorsMax } = this.options
    const wanted = Math.max(1, Math.min(processorsMax, Math.ceil(waiting / threshold)))
    if (wanted >= processors) {
      this.calm = 0
      return wanted
    }
    const couldDoWithout = busyShare * processors <= busyShareMax * (processors - 1)
    this.calm = couldDoWithout ? this.calm + 1 : 0
    if (this.calm < calmLooks) return processors
    this.calm = 0
    return processors - 1
  }
}
